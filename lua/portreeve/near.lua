-- "Did you mean …": the known name nearest to a wrong one.
local ipairs, min = ipairs, math.min
local concat = table.concat
local _ENV = nil

local near = {}

-- Letters to change, add, remove or swap with a neighbour to get from a to b. Names are short: cost #a * #b.
local function distance(a, b)
  local before, last = {}, {}
  for j = 0, #b do
    last[j] = j
  end
  for i = 1, #a do
    local now = { [0] = i }
    for j = 1, #b do
      local same = a:byte(i) == b:byte(j)
      now[j] = min(last[j] + 1, now[j - 1] + 1, last[j - 1] + (same and 0 or 1))
      if i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then now[j] = min(now[j], before[j - 2] + 1) end
    end
    before, last = last, now
  end
  return last[#b]
end
near.distance = distance

-- The nearest of `names`, or nil where none is near; second result: they differ in capitals only.
function near.best(name, names)
  if #name > 60 then return nil, false end
  local best, least = nil, 4
  for _, known in ipairs(names) do
    local d = distance(name:lower(), known:lower())
    if d < least or (d == least and best and known < best) then best, least = known, d end
  end
  if best and least > #best // 3 then return nil, false end
  return best, least == 0
end

function near.join(list)
  return concat(list, ", ")
end

return near

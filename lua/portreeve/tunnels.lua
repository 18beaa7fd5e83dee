-- Which listeners are tunnels, and whether hub and console may touch those. Pure: rules in, names out.
local ipairs = ipairs
local _ENV = nil

local tunnels = {}

local words = { tunnel = true, ["tls-tunnel"] = true }

-- Services that could not be read may say anything.
local function line_is(line)
  if not line.Services then return true end
  for _, word in ipairs(line.Services.value) do
    if words[word] then return true end
  end
  return false
end

-- l: an element of rules.listeners. Does one of its lines carry tunnel or tls-tunnel? Also one whose port is 0: what it says would count as
-- soon as the port is another one.
function tunnels.carries(l)
  if line_is(l) then return true end
  for _, row in ipairs(l.rows) do
    if line_is(row) then return true end
  end
  return false
end

-- TunnelEdits of portreeve.ini.
function tunnels.may_edit(rules)
  local e = rules.portreeve and rules.portreeve.TunnelEdits
  return e ~= nil and e.value == "On"
end

-- The names of the listeners that are tunnels before edits or after them.
function tunnels.names(before, after)
  local out, seen = {}, {}
  for _, rules in ipairs { before, after } do
    for _, l in ipairs(rules.listeners) do
      if not seen[l.name] and tunnels.carries(l) then
        out[#out + 1], seen[l.name] = l.name, true
      end
    end
  end
  return out
end

return tunnels

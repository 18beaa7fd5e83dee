-- Lengths of time as people write them: "90s", "10m", "1h", "2d", "500ms", "1h30m". Pure.
--   duration.ms(text) -> whole milliseconds, or nil and what is allowed           duration.text(ms) -> "1h30m"
local ipairs, tointeger = ipairs, math.tointeger
local _ENV = nil

local duration = {}

local units = { { "d", 86400000 }, { "h", 3600000 }, { "m", 60000 }, { "s", 1000 }, { "ms", 1 } }
local of_unit = {}
for place, unit in ipairs(units) do
  of_unit[unit[1]] = { place = place, ms = unit[2] }
end
of_unit.min, of_unit.sec = of_unit.m, of_unit.s

local ALLOWED = "a length of time, like 90s, 10m, 1h30m or 2d"

function duration.ms(text)
  local total, last, at = 0, 0, 1
  while at <= #text do
    local number, unit, behind = text:match("^(%d+)(%a+)()", at)
    local known = number and #number <= 9 and of_unit[unit]
    if not known or known.place <= last then return nil, "not " .. ALLOWED end
    total, last, at = total + tointeger(number) * known.ms, known.place, behind
  end
  if total == 0 then return nil, "not " .. ALLOWED end
  return total
end

function duration.text(ms)
  local out = ""
  for _, unit in ipairs(units) do
    if ms >= unit[2] then
      out = out .. ms // unit[2] .. unit[1]
      ms = ms % unit[2]
    end
  end
  return out == "" and "0s" or out
end

return duration

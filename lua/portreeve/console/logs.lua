-- logs(): of the last messages of other machines those that somebody asks for.
--   pick(list, 20)                                     the newest twenty
--   pick(list, { from = "192.0.2.7", severity = "err", text = "failed", n = 50 })
-- from, host, app, listener, transport, facility: equal; text: a part of it, as written; severity: that one or a worse one; n: so many at
-- most.
local error, ipairs, pairs, tostring, type = error, ipairs, pairs, tostring, type
local format, math_type = string.format, math.type
local _ENV = nil

local DEFAULT = 100
local severities = { emerg = 0, alert = 1, crit = 2, err = 3, warning = 4, notice = 5, info = 6, debug = 7 }

local function same(name)
  return function(m, want) return m[name] == want end
end

local fits = {
  from = same "from", host = same "host", app = same "app", listener = same "listener", transport = same "transport",
  facility = same "facility",
  text = function(m, want) return m.text ~= nil and m.text:find(want, 1, true) ~= nil end,
  severity = function(m, want) return severities[m.severity] <= severities[want] end,
}

local function check(what)
  for name, value in pairs(what) do
    if name == "n" then
      if math_type(value) ~= "integer" or value < 1 then error("logs{n=…} wants a whole number from 1 up", 0) end
    elseif not fits[name] then
      error(format("logs{…} knows from, host, app, listener, transport, facility, text, severity and n, not %s", tostring(name)), 0)
    elseif type(value) ~= "string" then
      error(format("logs{%s=…} wants a text", name), 0)
    end
  end
  if what.severity and not severities[what.severity] then
    error(format("there is no severity '%s': emerg, alert, crit, err, warning, notice, info or debug", what.severity), 0)
  end
end

local function is_asked(m, what)
  for name, want in pairs(what) do
    if name ~= "n" and not fits[name](m, want) then return false end
  end
  return true
end

local function pick(list, what)
  if what ~= nil and type(what) ~= "table" then what = { n = what } end
  what = what or {}
  check(what)
  local out = {}
  for _, m in ipairs(list) do
    if #out >= (what.n or DEFAULT) then break end
    if is_asked(m, what) then out[#out + 1] = m end
  end
  return out
end

return { pick = pick }

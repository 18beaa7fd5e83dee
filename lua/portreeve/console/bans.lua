-- Bans and what follows from them, as the console offers them.
--   offer(functions, engine, session, as_list): adds ban(), unban(), bans() and reap(); session.who: who asks
local duration = require "portreeve.duration"
local show = require("portreeve.console.show").show
local error, pairs, tostring, type = error, pairs, tostring, type
local _ENV = nil

local function address_of(v, what)
  if type(v) ~= "string" or v == "" then
    error(what .. ' wants an address, a prefix or a range as text: "203.0.113.9", "203.0.113.0/24", "10.0.0.5-10.0.0.9"', 0)
  end
  return v
end

local function option(given, name, what)
  for key in pairs(type(given) == "table" and given or {}) do
    if key ~= name then error(("%s has no option '%s', only %s"):format(what, tostring(key), name), 0) end
  end
  return type(given) == "table" and given[name] == true
end

local function offer(f, engine, session, as_list)
  -- A ban that is not in force is an error. time nil: until it is taken back.
  function f.ban(address, time, reason, options)
    address_of(address, "ban")
    if type(time) == "table" then time, options = nil, time end
    if type(reason) == "table" then reason, options = nil, reason end
    local ms = 0
    if time ~= nil then
      local found, why = duration.ms(tostring(time))
      ms = found
      if not ms then error(("ban: %s is %s"):format(tostring(time), why), 0) end
    end
    local fine, text = engine.ban(address, ms, reason and tostring(reason) or "", session.who, option(options, "force", "ban"))
    if not fine then error(text, 0) end
    return text
  end
  function f.unban(address)
    local fine, text = engine.unban(address_of(address, "unban"), session.who)
    if not fine then error(text, 0) end
    return text
  end
  -- What the living connections would hear if they came today; without {dry=true} those that would not come in are ended.
  function f.reap(options)
    local got = engine.reap(option(options, "dry", "reap"), session.who)
    if not got.list[1] then got.list = nil end -- an empty one would not be known as a list
    if session.as_json then return got end
    local n = got.closed + got.closing
    local text = ("%d living connections judged again: %s%s"):format(got.judged, n == 0 and "all of them" or ("%d"):format(n),
      n == 0 and (got.dry and " may stay" or " stay") or got.dry and " would be ended" or " ended")
    if n == 0 then return text end
    text = ("%s (%d at once, %d after their answer)"):format(text, got.closed, got.closing)
    local rest = got.unnamed > 0 and ("\n… and %d more"):format(got.unnamed) or ""
    return text .. "\n" .. show(as_list(got.list)) .. rest
  end
  function f.bans()
    local list = engine.bans()
    for _, b in pairs(list) do
      b["left"] = b.left_ms and duration.text(b.left_ms // 1000 * 1000 | 0) or "for ever"
      if not session.as_json then b.left_ms = nil end
    end
    return as_list(list)
  end
end

return { offer = offer }

-- What a rule of admission may answer. Final: allow, refuse, reset, answer. Not final (the next rule is asked): delay, tag, only, and nil.
-- A rule may return several, the final one last. Anything else is a failure of the policy.
local error, ipairs, math_type, tostring, type, utf8 = error, ipairs, math.type, tostring, type, utf8
local _ENV = nil

local reasons = { denied = true, restriction = true, ["per-address"] = true, maximum = true, reserve = true, policy = true, banned = true,
                  rate = true, clients = true, certificate = true }
local services = { tracker = true, ui = true, hub = true, ops = true, internal = true, transfer = true }

local verdict = { allow = "allow", longest_delay = 30000 }

local function refusal(reason, because, how)
  if not reasons[reason] then
    error("a reason to refuse is denied, restriction, per-address, maximum, reserve, banned, rate, clients, certificate or policy", 3)
  end
  return { refuse = reason, because = because or "", how = how }
end

-- Close without a byte, so that the caller tries the next address (G14). because: the file and line that decided, or a few words; it goes
-- into the log and to whoever asks why.
function verdict.refuse(reason, because) return refusal(reason, because) end

-- The same with a reset.
function verdict.reset(reason, because) return refusal(reason, because, "reset") end

-- Let the session start (TLS too), answer it with a page of that status and text, and close (G15).
function verdict.answer(status, text, because)
  if math_type(status) ~= "integer" or status < 400 or status > 599 then error("the status of an answer is a number from 400 to 599", 2) end
  if type(text) ~= "string" then error("the text of an answer is a string", 2) end
  if #text > 255 then text = text:sub(1, utf8.offset(text, 0, 253) - 1) .. "…" end -- it may hold words of the caller's: no reason to fail
  return { refuse = "policy", because = because or "", how = "answer", status = status, text = text }
end

-- Wait so many milliseconds before the connection (or request) goes on.
function verdict.delay(ms)
  if math_type(ms) ~= "integer" or ms < 0 or ms > verdict.longest_delay then
    error(("a delay is a whole number of milliseconds from 0 to %d"):format(verdict.longest_delay), 2)
  end
  return { delay = ms }
end

-- Give the connection a name that later rules (facts:tagged) and route.lua (req:tagged) may ask for, and records show.
function verdict.tag(name)
  if type(name) ~= "string" or #name > 31 or not name:find("^[%w_.-]+$") then
    error("a tag is a name of at most 31 letters, digits, '-', '_' and '.'", 2)
  end
  return { tag = name }
end

-- The names in "tracker,ui" or { "tracker", "ui" } as a list; raises where one is no service.
function verdict.services(list, level)
  local out = {}
  if type(list) == "string" then
    for name in list:gmatch("[^,%s]+") do out[#out + 1] = name end
  else
    for i, name in ipairs(type(list) == "table" and list or {}) do out[i] = name end
  end
  if #out == 0 then error("services are named as in listeners.ini: tracker, ui, hub, ops, internal or transfer", (level or 1) + 1) end
  for _, name in ipairs(out) do
    if not services[name] then
      error(("there is no service '%s' (tracker ui hub ops internal transfer)"):format(tostring(name)), (level or 1) + 1)
    end
  end
  return out
end

-- From here on the connection reaches only these services of its socket.
function verdict.only(list) return { only = verdict.services(list, 2) } end

return verdict

--- The communications port of a tracker on another server (M57): the hub keeps the wish and hands it over on the internal port (1099). A
-- tracker that is down at that moment gets it when it is back; one that refuses is not asked again, and its reason is kept to be shown.
--
--   remote(engine) -> true where the tracker is not a part of this engine
--   wish(job) -> "done" | "kept" | "refused", text     job {conf=, engine=, accounts=, account=, address=, port=}: kept, and tried at once
--   deliver(conf, engine, accounts, call, stop)        what the hub's poll task does every few seconds
--   state(accounts) -> {value=, account=, asked_ms=, tried_ms=, fault=, refused=} | false | nil, why
local contacts = require "portreeve.hub.contacts"
local cjson = require "cjson"
local http = require "portreeve.http"
local sys = require "portreeve.sys"
local pcall, tostring, type = pcall, tostring, type
local _ENV = nil

local WHAT = "communications port"

local function remote(engine)
  local status = engine.status()
  local here = status and status.components
  return type(here) == "string" and not ("," .. here .. ","):find(",tracker,", 1, true)
end

local function state(accounts)
  return accounts:wish(WHAT)
end

-- -> "done" | "refused" | "kept", text
local function hand_over(place, wish, call, stop)
  local reply, why = call { method = "POST", url = "http://" .. place .. "/internal/communications-port", connect_ms = 2000,
    total_ms = 60000, max_reply = 1048576, stop = stop, headers = { ["Content-Type"] = "application/json" },
    body = cjson.encode { port = wish.value, who = ("%s at %s, in another server's hub"):format(wish.account, wish.address) } }
  if not reply then
    return "kept", tostring(why)
  end
  local ok, said = pcall(cjson.decode, reply.body)
  local text = ok and type(said) == "table" and tostring(said.text or said.error or "") or ""
  if reply.status == 200 then
    return "done", text
  elseif reply.status == 409 or reply.status == 403 or reply.status == 400 then
    return "refused", text
  end
  return "kept", ("the tracker's server answered %d %s"):format(reply.status, text)
end

local function deliver(conf, engine, accounts, call, stop)
  local wish = remote(engine) and state(accounts)
  if not wish or wish.refused then
    return nil
  end
  local place = contacts.place_of(conf, engine, "tracker")
  local what, text = hand_over(place, wish, call, stop)
  if what == "kept" then
    accounts:note_wish(WHAT, wish, { fault = text })
    return what, text
  end
  accounts:note_wish(WHAT, wish, what == "refused" and { fault = text, refused = true } or nil)
  accounts:audit(wish.account, wish.address, WHAT, ("%s at %s: %s: %s"):format(what == "done" and "in force" or "refused", place,
    wish.value, text:sub(1, 1500)))
  sys.log("notice", "hub", ("communications port %s, wished by %s: %s at %s"):format(wish.value, wish.account, what == "done" and "in force"
    or "refused", place))
  return what, text
end

local function wish(job)
  local ok, why = job.accounts:make_wish(WHAT, tostring(job.port), job.account, job.address)
  if not ok then
    return "refused", why
  end
  return deliver(job.conf, job.engine, job.accounts, job.call or http.call, function() return false end)
end

return { remote = remote, state = state, wish = wish, deliver = deliver }

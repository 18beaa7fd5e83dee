--- Which components there are, where they answer for internal calls (port 1099), and the task that asks them.
local accounts_of = require "portreeve.web.places"
local conf_of = require "portreeve.web.conf"
local cjson = require "cjson"
local http = require "portreeve.http"
local sys = require "portreeve.sys"
local ipairs, math_min, pcall, tostring, type = ipairs, math.min, pcall, tostring, type
local _ENV = nil

local EVERY_MS = 10000
local names = { "hub", "ui", "tracker" }
local file_of = { hub = "hub", ui = "lui", tracker = "tracker" }

-- Hosts: the hub is here; where ui and tracker are is written in lui.ini (TrackerHost) or is this host.
local function place_of(conf, engine, name)
  local host = name == "tracker" and conf_of.value(conf, "lui", "TrackerHost", "localhost") or "localhost"
  local port = conf_of.value(conf, file_of[name], "RMIPort", 1099)
  return conf_of.authority(host == "localhost" and "127.0.0.1" or host, conf_of.port_of(engine, port, "internal"))
end

-- -> contact {version, status} or {fault}
local function ask(call, place, name, stop)
  local reply, why = call { url = "http://" .. place .. "/internal/status", connect_ms = 2000, total_ms = 5000, max_reply = 1048576,
    stop = stop }
  if not reply then
    return { fault = why }
  elseif reply.status ~= 200 then
    return { fault = "answered " .. tostring(reply.status) }
  end
  local ok, status = pcall(cjson.decode, reply.body)
  local part = ok and type(status) == "table" and type(status.components) == "table" and status.components[name]
  if type(part) ~= "table" then
    return { fault = "answers, but has no " .. name }
  end
  return { version = tostring(part.version or "?"):sub(1, 64), status = cjson.encode(part) }
end

local function poll(conf, engine, accounts, call, stop)
  for _, name in ipairs(names) do
    if stop() then
      return
    end
    local place = place_of(conf, engine, name)
    local contact = ask(call, place, name, stop)
    if not stop() then
      local ok, why = accounts:note_contact(name, place, contact)
      if not ok then
        sys.log("warn", "hub", "contact with " .. name .. " cannot be recorded: " .. tostring(why))
      end
    end
  end
end

-- before(conf, engine, accounts, call, stop): what else is to be done each time.
local function task(engine, before)
  return function(conf, stop)
    local accounts = accounts_of.system(engine.state_dir)
    while not stop() do
      accounts.db:ensure()
      before(conf, engine, accounts, http.call, stop)
      poll(conf, engine, accounts, http.call, stop)
      local till = sys.mono_ms() + EVERY_MS
      while not stop() and sys.mono_ms() < till do
        sys.sleep(math_min(250, EVERY_MS))
      end
    end
    accounts.db:close()
  end
end

return { names = names, place_of = place_of, ask = ask, poll = poll, task = task }

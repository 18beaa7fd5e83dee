--- Answers to other components on the internal port (1099):
--   GET  /internal/status                 what runs on this host, as JSON
--   POST /internal/communications-port    {"port": N, "who": TEXT}: a hub on another server moves the tracker's communications port
local cjson = require "cjson"
local edits = require "portreeve.edit"
local engine = require "portreeve.engine"
local places = require "portreeve.web.places"
local sys = require "portreeve.sys"
local reports = require "portreeve.db.reports"
local ipairs, pcall, tointeger, tostring, type = ipairs, pcall, math.tointeger, tostring, type
local _ENV = nil

local function json(status, value)
  return { status = status, headers = { ["Content-Type"] = "application/json", ["Cache-Control"] = "no-store",
    ["X-Content-Type-Options"] = "nosniff" },
    body = cjson.encode(value) .. "\n" }
end

local function ui_part(report)
  local sources, why = report:sources()
  local alarms, fault = report:alarms()
  if not sources or not alarms then
    return { fault = tostring(why or fault) }
  end
  local out = { alarms = #alarms, alarm = alarms[1], sources = {} }
  for i, s in ipairs(sources) do
    out.sources[i] = { place = s.place, tracker = s.tracker, upto_ms = s.upto_ms, seen_ms = s.seen_ms, fault = s.fault }
  end
  return out
end

-- Does the ui reach its database (M60)?
local function database_part(db)
  local began = sys.mono_ms()
  local ok, why = db:ensure()
  local row = false
  if ok then
    row, why = db:one(db.dialect.version)
  end
  local spec = db.spec
  local place = spec.host and ("%s at %s:%d"):format(spec.name, spec.host, spec.port) or spec.name and spec.name:match("[^/]*$")
  return { ok = row and true or false, fault = not row and tostring(why) or nil, version = row and row.version or nil, place = place,
    ms = sys.mono_ms() - began }
end

-- Where the ui fetches events (M57): the port really bound, which may have changed a moment ago.
local function communications_port(status)
  for _, l in ipairs(status.listeners or {}) do
    if l.name == "communications" then
      return tointeger(l.port)
    end
  end
end

local function status_of(report)
  local s = engine.status()
  local parts = {}
  for name in tostring(s.components or ""):gmatch("[%w_-]+") do
    parts[name] = { version = s.version, since_ms = s.since_ms }
  end
  if parts.tracker then
    parts.tracker.spool = s.spool
    parts.tracker.tracker_id = s.tracker_id
    parts.tracker.communications_port = communications_port(s)
  end
  if parts.ui then
    parts.ui.reports = ui_part(report)
    parts.ui.database = database_part(report.db)
  end
  return { components = parts }
end

-- A hub on another server moves our communications port (M57). Whoever may use this port may do so (lists/components.list), but for
-- programs of this machine: they have no account here, and the hub and the console of this machine need no call.
local function move_port(req)
  local fine, wish = pcall(cjson.decode, req.body or "")
  local port = fine and type(wish) == "table" and wish.port
  if (req.headers["content-type"] or ""):match("^[^;%s]*") ~= "application/json" or type(port) ~= "number" and type(port) ~= "string" then
    return json(400, { error = 'the body is {"port": NUMBER, "who": TEXT} in application/json' })
  elseif req.address:find("^127%.") or req.address == "::1" then
    return json(403, { error = "from this machine the port is changed in the hub or at the console" })
  end
  local list, why = edits.communications_port(port)
  if not list then
    return json(409, { text = why })
  end
  local who = ("%s, at %s"):format(tostring(wish.who or "somebody"):sub(1, 70):gsub("%c", "?"), req.address)
  local ok, text = engine.edit(list, { who = who })
  return json(ok and 200 or 409, { text = tostring(text) })
end

local routes = { ["/internal/status"] = "GET", ["/internal/communications-port"] = "POST" }

local function handler()
  local db = places.ui(engine.state_dir)
  local report = reports.new(db)
  return function(req)
    local takes = routes[req.path]
    if not takes then
      return json(404, { error = "there is nothing at this address; try /internal/status" })
    elseif req.method ~= takes and not (takes == "GET" and req.method == "HEAD") then
      local refused = json(405, { error = "this address takes " .. takes })
      refused.headers.Allow = takes == "GET" and "GET, HEAD" or takes
      return refused
    elseif takes == "POST" then
      return move_port(req)
    end
    db:ensure()
    local ok, value = pcall(status_of, report)
    return ok and json(200, value) or json(503, { error = tostring(value) })
  end
end

return { handler = handler }

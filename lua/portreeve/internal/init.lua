--- Answers to other components on the internal port (1099): GET /internal/status says what runs on this host, as JSON.
local cjson = require "cjson"
local engine = require "portreeve.engine"
local places = require "portreeve.web.places"
local sys = require "portreeve.sys"
local reports = require "portreeve.db.reports"
local ipairs, pcall, tostring = ipairs, pcall, tostring
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

local function status_of(report)
  local s = engine.status()
  local parts = {}
  for name in tostring(s.components or ""):gmatch("[%w_-]+") do
    parts[name] = { version = s.version, since_ms = s.since_ms }
  end
  if parts.tracker then
    parts.tracker.spool = s.spool
    parts.tracker.tracker_id = s.tracker_id
  end
  if parts.ui then
    parts.ui.reports = ui_part(report)
    parts.ui.database = database_part(report.db)
  end
  return { components = parts }
end

local function handler()
  local db = places.ui(engine.state_dir)
  local report = reports.new(db)
  return function(req)
    if req.path ~= "/internal/status" then
      return json(404, { error = "there is nothing at this address; try /internal/status" })
    elseif req.method ~= "GET" and req.method ~= "HEAD" then
      local refused = json(405, { error = "this address takes GET" })
      refused.headers.Allow = "GET, HEAD"
      return refused
    end
    db:ensure()
    local ok, value = pcall(status_of, report)
    return ok and json(200, value) or json(503, { error = tostring(value) })
  end
end

return { handler = handler }

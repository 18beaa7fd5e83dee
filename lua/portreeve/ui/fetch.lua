--- The fetcher: brings events from a tracker into the ui's database. Ask after the cursor, write rows, roll-ups and cursor in one
-- transaction, and only then acknowledge. Whatever fails is tried again from the cursor, later and later, at most a minute apart.
--
--   GET  http://HOST:PORT/events?after=POSITION&reader=NAME&wait=MS     NDJSON; X-Tracker-Id, X-Spool-Epoch, X-Last-Position
--   POST http://HOST:PORT/ack?reader=NAME&position=POSITION
local conf_of = require "portreeve.web.conf"
local form = require "portreeve.web.form"
local cjson = require "cjson"
local events = require "portreeve.db.events"
local http = require "portreeve.http"
local reader_of = require "portreeve.ui.reader"
local sys = require "portreeve.sys"
local ceil, math_min, pcall, setmetatable, tointeger, tonumber, tostring, type =
  math.ceil, math.min, pcall, setmetatable, math.tointeger, tonumber, tostring, type
local _ENV = nil

local STATUS_MAX = 1048576
local WAIT_MS = 20000 -- long poll; a stop ends it within half a second
local REPLY_MAX = 32 * 1024 * 1024 -- the tracker stops at about 8
local BACKOFF_MS, BACKOFF_MOST_MS = 500, 60000
local PAUSE_MS = 1000 -- between looks whether an alarm has been accepted
local SLICE_MS = 250
local REMOVED = "the database file was removed; nothing is acknowledged, events are fetched again"

local methods = {}
local metatable = { __index = methods }

-- Is the tracker a part of this very engine? Then its tracker.ini is ours, and this task begins anew whenever that changes.
local function beside(engine, host)
  if host ~= "localhost" or not engine then
    return false
  end
  local status = engine.status()
  return ("," .. tostring(status and status.components or "") .. ","):find(",tracker,", 1, true) ~= nil
end

-- spec {conf=, db=, engine=, call=}; call and engine may be replaced by tests.
local function new(spec)
  local conf = spec.conf
  local host = conf_of.value(conf, "lui", "TrackerHost", "localhost")
  local pinned = conf_of.written(conf, "lui", "TrackerCommunicationsPort")
  return setmetatable({
    store = events.new(spec.db), db = spec.db, engine = spec.engine, call = spec.call or http.call,
    host = host, -- M27: the ui connects, the tracker never does
    port = pinned or conf_of.value(conf, "tracker", "CommunicationsPort", 7000),
    told = pinned ~= nil or beside(spec.engine, host), internal = conf_of.value(conf, "lui", "TrackerRMIPort", 1099),
    interval_ms = conf_of.value(conf, "lui", "TransferInterval", 0), failures = 0,
  }, metatable)
end

function methods:place()
  local host = self.host == "localhost" and "127.0.0.1" or self.host
  return conf_of.authority(host, conf_of.port_of(self.engine, self.port, "communications"))
end

--- The communications port can change at any time (M57), and nobody tells us: the tracker says it on its internal port. Not asked where
-- lui.ini names the port. -> true where it is another one than before
function methods:learn(stop)
  if self.told or stop() then
    return false
  end
  local host = self.host == "localhost" and "127.0.0.1" or self.host
  local place = conf_of.authority(host, conf_of.port_of(self.engine, self.internal, "internal"))
  local reply = self.call { url = "http://" .. place .. "/internal/status", connect_ms = 3000, total_ms = 10000, max_reply = STATUS_MAX,
    stop = stop }
  local ok, status = pcall(cjson.decode, reply and reply.status == 200 and reply.body or "null")
  local part = ok and type(status) == "table" and type(status.components) == "table" and status.components.tracker
  local port = type(part) == "table" and tointeger(tonumber(part.communications_port))
  if not port or port < 1 or port > 65535 or port == self.port then
    return false
  end
  sys.log("notice", "ui", ("the tracker's communications port is %d now, as it says at %s"):format(port, place))
  self.port = port
  return true
end

-- Sleeps in slices, so that a stop is heard.
local function rest(ms, stop)
  local till = sys.mono_ms() + ms
  while not stop() do
    local left = till - sys.mono_ms()
    if left <= 0 then
      return
    end
    sys.sleep(ceil(math_min(left, SLICE_MS)))
  end
end

-- ask {after=, wait=, look = true: without a reader's name, so nothing is acknowledged by it}
-- -> {tracker, last, newest, body} | nil, why, status
function methods:get(ask, stop)
  local place = self:place()
  local query = { after = ("%d"):format(ask.after), wait = ("%d"):format(ask.wait), reader = not ask.look and self.reader or nil }
  local reply, why = self.call { url = "http://" .. place .. "/events" .. form.query(query), connect_ms = 3000, total_ms = ask.wait + 15000,
    max_reply = REPLY_MAX, stop = stop }
  if not reply then
    return nil, why
  elseif reply.status ~= 200 then
    local said = (reply.body or ""):sub(1, 200):gsub("%c", " ")
    return nil, ("tracker at %s answered %d %s"):format(place, reply.status, said), reply.status
  end
  local tracker, last = reply.headers["x-tracker-id"], tointeger(tonumber(reply.headers["x-last-position"]))
  if not tracker or not tracker:match("^[%w._-]+$") or #tracker > 63 or not last then
    return nil, "what answers at " .. place .. " is no tracker (X-Tracker-Id or X-Last-Position is missing)"
  end
  return { tracker = tracker, last = last, body = reply.body or "", newest = tointeger(tonumber(reply.headers["x-spool-newest"])) or last }
end

-- Which tracker is there, and how far it has been read. A changed tracker at a known place is found here too.
function methods:identify(stop)
  local known, why = self.store:tracker_at(self:place())
  if known == nil then
    return nil, why
  end
  if not known then
    local reply, fault = self:get({ after = 0, wait = 0, look = true }, stop)
    if not reply then
      return nil, fault
    end
    known = reply.tracker
    -- The first long poll may take a while to end: say at once that the tracker was reached.
    local ok, no = self.store:note_idle { tracker = known, place = self:place(), now = sys.now_ms(),
      upto_ms = reply.newest == 0 and sys.now_ms() or nil }
    if not ok then
      return nil, no
    end
  end
  local position, fault = self.store:position(known)
  if not position then
    return nil, fault
  end
  return known, position
end

function methods:acknowledge(position, stop)
  -- Last look: a file removed since the commit took the commit with it, so it must not be acknowledged.
  if not self.db:current() then
    return nil, REMOVED
  end
  local query = form.query { reader = self.reader, position = ("%d"):format(position) }
  local reply, why = self.call { method = "POST", url = "http://" .. self:place() .. "/ack" .. query, body = "",
    connect_ms = 3000, total_ms = 15000, stop = stop }
  if not reply then
    return nil, why
  elseif reply.status < 200 or reply.status > 299 then
    return nil, "the tracker did not take the acknowledgement: " .. (reply.body or ""):sub(1, 200), reply.status
  end
  self.acknowledged = position
  return true
end

local function describe(a)
  if a.kind == "rewind" then
    return ("tracker %s: its spool ends at position %d, but position %d was read before; fetching stops until the alarm is accepted "
      .. "in the ui"):format(a.tracker, a.found, a.expected - 1)
  end
  return ("tracker %s, epoch %d: event %d expected, %d came; fetching stops until the alarm is accepted in the ui"):format(
    a.tracker, a.epoch, a.expected, a.found)
end

function methods:pause(a)
  sys.log("error", "ui", describe(a))
  self.alarm = a
  return "paused"
end

-- While an alarm stands nothing is fetched from this tracker. -> true (stay) | false (go on) | nil, why
function methods:stands()
  if not self.alarm then
    return false
  end
  local accepted, why = self.store:accepted(self.alarm)
  if accepted == nil then
    return nil, why
  elseif not accepted then
    -- The database may have been replaced meanwhile, and the alarm with it: raise it again in that one.
    local ok, fault = self.store:raise(self.alarm, sys.now_ms())
    return ok and true or nil, fault
  end
  sys.log("notice", "ui", "alarm of tracker " .. self.alarm.tracker .. " accepted; fetching goes on")
  local rewind = self.alarm.kind == "rewind"
  local tracker = self.alarm.tracker
  self.alarm = nil
  if rewind then
    local ok, fault = self.store:rewind(tracker)
    if not ok then
      return nil, fault
    end
  end
  return false
end

function methods:store_reply(reply, position, asked_ms)
  local now = sys.now_ms()
  local batch = { tracker = reply.tracker, place = self:place(), after = position, last = reply.last, body = reply.body, now = now }
  -- With the newest position here, everything up to the question is here; else the events themselves say how far.
  batch.upto_ms = reply.last >= reply.newest and (reply.body == "" and now or asked_ms) or nil
  if reply.body == "" then
    local ok, why = self.store:note_idle(batch)
    return ok and { new = 0, seen = 0 }, why
  end
  return self.store:apply(batch)
end

-- The tracker does not know our position: its spool is another one than before.
function methods:lost_place(tracker, position, why, stop)
  local reply, fault = self:get({ after = 0, wait = 0, look = true }, stop)
  if not reply then
    return nil, fault
  elseif reply.tracker ~= tracker then
    return self:other_tracker(reply.tracker)
  elseif reply.newest >= position then
    return nil, why
  end
  local a = { tracker = tracker, kind = "rewind", epoch = 0, expected = position + 1, found = reply.newest, position = position,
    pauses = 1 }
  local ok, db_fault = self.store:raise(a, sys.now_ms())
  if not ok then
    return nil, db_fault
  end
  return self:pause(a)
end

-- The name to ask by, when the database is there to say whether it has read before.
function methods:named()
  if self.reader then
    return true
  end
  local has_read, fault = self.store:has_read()
  if has_read == nil then
    return nil, fault
  end
  local why
  self.reader, why = reader_of(self.engine.state_dir, has_read)
  return self.reader ~= nil, why
end

-- Everything that must be in order before a question.
-- -> tracker, position | false, what the round comes to (and why) | nil, why
function methods:prepare(stop)
  local ok, why = self.db:ensure()
  if ok then
    ok, why = self:named()
  end
  if not ok then
    return nil, why
  end
  local stays, fault = self:stands()
  if stays == nil then
    return nil, fault
  elseif stays then
    return false, "paused"
  end
  local tracker, position = self:identify(stop)
  if tracker and position > 0 and self.acknowledged ~= position then -- a crash between commit and acknowledgement
    local done, no, status = self:acknowledge(position, stop)
    if not done and status == 409 then
      return false, self:lost_place(tracker, position, no, stop)
    elseif not done then
      return nil, no
    end
  end
  return tracker, position
end

--- One turn: fetch, store, acknowledge. -> "new" | "idle" | "paused" | nil, why
function methods:round(stop)
  local tracker, position, fault = self:prepare(stop)
  if tracker == false then
    return position, fault
  elseif not tracker then
    return nil, position
  elseif position > 0 and not self.db:current() then -- asking after a position says that everything up to it is stored
    return nil, REMOVED
  end
  local asked_ms = sys.now_ms()
  local reply, why, status = self:get({ after = position, wait = self.interval_ms == 0 and WAIT_MS or 0 }, stop)
  if not reply and status == 409 then
    return self:lost_place(tracker, position, why, stop)
  elseif not reply then
    return nil, why
  elseif reply.tracker ~= tracker then
    return self:other_tracker(reply.tracker)
  elseif reply.last < position then
    return self:lost_place(tracker, position, "the tracker's position went back", stop)
  end
  return self:take(reply, position, asked_ms, stop)
end

function methods:other_tracker(id)
  sys.log("notice", "ui", "tracker " .. id .. " now answers at " .. self:place())
  local ok, why = self.store:note_idle { tracker = id, place = self:place(), now = sys.now_ms() }
  return ok and "idle" or nil, why
end

function methods:take(reply, position, asked_ms, stop)
  local result, why = self:store_reply(reply, position, asked_ms)
  if not result then
    return nil, why
  elseif result.alarm then
    return self:pause(result.alarm)
  end
  if result.lost then
    sys.log("error", "ui", ("tracker %s: %d event(s) had been acknowledged to a database that is gone; they cannot be fetched "
      .. "again"):format(
      reply.tracker, result.lost))
  end
  if reply.last > position then
    local ok, fault = self:acknowledge(reply.last, stop)
    if not ok then
      return nil, fault
    end
    return "new"
  end
  return "idle"
end

-- 0.5, 1, 2 … 60 s, each between half and the whole of it, so that many uis do not come back at once.
function methods:back_off()
  local most = math_min(BACKOFF_MOST_MS, BACKOFF_MS * 2 ^ math_min(self.failures, 10))
  self.failures = self.failures + 1
  return most * (0.5 + sys.random(1):byte() / 510)
end

function methods:run(stop)
  local last_fault
  self:learn(stop)
  while not stop() do
    local what, why = self:round(stop)
    if not what and self:learn(stop) then
      sys.log("info", "ui", "fetching events: " .. tostring(why) .. "; going on there")
    elseif not what and not stop() then
      if why ~= last_fault or self.failures % 20 == 0 then
        sys.log("warn", "ui", "fetching events: " .. tostring(why))
      end
      last_fault = why
      self.store:note_fault(self:place(), tostring(why):sub(1, 500), sys.now_ms())
      rest(self:back_off(), stop)
    elseif what then
      if last_fault then
        sys.log("info", "ui", "fetching events works again")
      end
      self.failures, last_fault = 0, nil
      if what == "paused" then
        rest(PAUSE_MS, stop)
      elseif what == "idle" and self.interval_ms > 0 then
        rest(self.interval_ms, stop)
      end
    end
  end
  self.db:close()
end

return { new = new }

-- The transfer port (7000): the ui comes and fetches events.
--   GET  /events?after=POSITION[&reader=NAME][&wait=MS]   NDJSON of everything behind POSITION, whole batches, about 8 MB at most
--   POST /ack?reader=NAME&position=POSITION               NAME has stored everything up to POSITION: it may be deleted
-- With a reader's name, after=POSITION also says that everything up to there is stored: the reader is known from then on and nothing
-- beyond its position is deleted. Without one, /events only looks. Answers carry X-Tracker-Id, X-Spool-Epoch, X-Last-Position and
-- X-Spool-Newest.
local spool = require "portreeve.spool"
local math_tointeger, tonumber, tostring, type = math.tointeger, tonumber, tostring, type
local format, gmatch, gsub, char = string.format, string.gmatch, string.gsub, string.char
local _ENV = nil

local MOST = 8 << 20  -- bytes of an answer, and one batch more
local WAIT_MOST = 25000

local function text(status, line, extra)
  local headers = extra or {}
  headers["Content-Type"] = "text/plain; charset=utf-8"
  headers["Cache-Control"] = "no-store"
  return { status = status, headers = headers, body = line .. "\n" }
end

-- Parameters of a query; one that stands twice is an error.
local function parameters(query)
  local out = {}
  for part in gmatch(query or "", "[^&]+") do
    local name, value = part:match("^([%w_-]+)=(.*)$")
    if not name or out[name] then return nil, "the query is not NAME=VALUE&…, or a name stands twice" end
    out[name] = gsub(gsub(value, "%+", " "), "%%(%x%x)", function(hex) return char(tonumber(hex, 16)) end)
  end
  return out
end

local function whole_number(s, most)
  if type(s) ~= "string" or not s:find("^%d+$") or #s > 18 then return nil end
  local n = math_tointeger(tonumber(s))
  return n and n <= most and n or nil
end

local function events(p)
  local after, wait = whole_number(p.after or "0", 1 << 62), whole_number(p.wait or "0", 600000)
  if not after or not wait then return text(400, "after is a position and wait a time in ms: whole numbers") end
  local st = spool.stats()
  local newest = st.last_pos
  if p.reader then
    local ok, why = spool.ack(p.reader, after)
    -- A disk that is full must not keep the ui from fetching what is there.
    if not ok and not st.failing then return text(409, why) end
  end
  local body, last = spool.read(after, MOST)
  if body and last == after and wait > 0 and after >= newest then
    spool.wait(after, wait < WAIT_MOST and wait or WAIT_MOST)
    body, last = spool.read(after, MOST)
  end
  if not body then return text(500, tostring(last)) end
  st = spool.stats()
  newest = st.last_pos > last and st.last_pos or last
  return { status = 200, body = body, headers = {
    ["Content-Type"] = "application/x-ndjson", ["Cache-Control"] = "no-store",
    ["X-Tracker-Id"] = st.tracker, ["X-Spool-Epoch"] = format("%d", st.epoch), ["X-Last-Position"] = format("%d", last),
    ["X-Spool-Newest"] = format("%d", newest) } }
end

local function acknowledge(p)
  local position = whole_number(p.position or p.pos, 1 << 62)
  if not p.reader or not position then return text(400, "ack wants reader=NAME and position=POSITION") end
  local ok, why = spool.ack(p.reader, position)
  if not ok then return text(409, why) end
  return text(200, "acknowledged up to " .. format("%d", position))
end

local routes = {
  ["/events"] = { allow = "GET", GET = events },
  ["/ack"] = { allow = "POST", POST = acknowledge },
}

local function handler()
  return function(req)
    local route = routes[req.path]
    if not route then return text(404, "here are /events and /ack") end
    local act = route[req.method]
    if not act then return text(405, "this address takes " .. route.allow, { Allow = route.allow }) end
    local p, why = parameters(req.query)
    if not p then return text(400, why) end
    return act(p)
  end
end

return { handler = handler }

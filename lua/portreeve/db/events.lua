--- Events as they come from trackers, and everything that is counted from them, in one transaction per batch: the rows, the roll-ups, the
-- cursor. What has been committed here may be acknowledged; nothing else may.
--
-- An event's key is (tracker, epoch, seq); seq is gapless within an epoch and starts at 1. A line at or below the last seq of its epoch
-- came before and is passed over. A line beyond the next seq is a gap: the batch is rolled back, an alarm is raised, and nothing more is
-- taken from that tracker until a person accepts the gap.
local cjson = require "cjson"
local ipairs, math_type, pairs, pcall, setmetatable, tointeger, tonumber, tostring, type =
  ipairs, math.type, pairs, pcall, setmetatable, math.tointeger, tonumber, tostring, type
local table_concat, decode, null = table.concat, cjson.decode, cjson.null
local _ENV = nil

local HOUR_MS = 3600000
local EXACT = 2 ^ 53

local types = { open = true, click = true, unsubscribe = true, resubscribe = true, trap = true }
-- Which classes are people. A proxy fetches whether or not anybody looks, so it is counted as a machine.
local machine_of = { human = 0, unknown = 0, proxy = 1, prefetch = 1, scanner = 1, bot = 1 }

-- cjson makes doubles of numbers; ids above 2^53 are taken from the text of the line.
local function whole(line, row, name)
  local v = row[name]
  if type(v) ~= "number" or v < 0 or v % 1 ~= 0 then
    return nil
  end
  if v < EXACT then
    return tointeger(v)
  end
  local digits = line:match('"' .. name .. '"%s*:%s*(%d+)')
  return digits and (math_type(tonumber(digits)) == "integer" and tonumber(digits) or digits)
end

-- Numbers are bound as doubles (dialect.lua), so large ones go as text.
local function exact(v)
  if math_type(v) == "integer" and v >= EXACT then
    return tostring(v)
  end
  return v
end

local function text(v, most)
  if type(v) ~= "string" then
    return nil
  end
  return v:sub(1, most)
end

local function who_of(line, row)
  local recipient = row.recipient
  if recipient ~= nil and recipient ~= null then
    local id = type(recipient) == "string" and recipient:match("^%d+$") or whole(line, row, "recipient")
    return id and "r" .. tostring(id)
  end
  if type(row.pseudonym) == "string" and #row.pseudonym <= 78 then
    return "p" .. row.pseudonym
  end
  return ""
end

local function reasons_of(v)
  local names = {}
  if type(v) == "table" then
    for i, name in ipairs(v) do
      names[i] = tostring(name)
    end
  end
  return table_concat(names, ","):sub(1, 1000)
end

-- One NDJSON line -> event | nil, why
local function parse(line, tracker)
  local ok, row = pcall(decode, line)
  if not ok or type(row) ~= "table" then
    return nil, "not a JSON object"
  end
  local e = {
    epoch = whole(line, row, "epoch"), seq = whole(line, row, "seq"), ms = whole(line, row, "ms"), campaign = whole(line, row, "campaign"),
    link = whole(line, row, "link") or 0, since = whole(line, row, "since"), type = row.type, who = who_of(line, row),
    level = text(row.level, 16) or "", class = text(row.class, 16) or "unknown", reasons = reasons_of(row.reasons),
    address = text(row.address, 64), agent = text(row.agent, 1000), listener = text(row.listener, 64), tls = text(row.tls, 16),
    method = text(row.method, 16),
  }
  if row.tracker ~= tracker then
    return nil, "tracker '" .. tostring(row.tracker) .. "' in an answer of tracker '" .. tracker .. "'"
  elseif math_type(e.epoch) ~= "integer" or math_type(e.seq) ~= "integer" or not e.ms or not e.campaign or not e.who then
    return nil, "epoch, seq, ms, campaign or recipient is missing or no whole number"
  elseif not types[e.type] then
    return nil, "unknown type '" .. tostring(e.type) .. "'"
  end
  e.machine = machine_of[e.class] or 0
  return e
end

local function parse_all(body, tracker)
  local out, n = {}, 0
  for line, ending in body:gmatch("([^\n]*)(\n?)") do
    if line ~= "" then
      local e, why = parse(line, tracker)
      if not e or ending == "" then
        return nil, "line " .. n + 1 .. ": " .. (why or "cut off")
      end
      n = n + 1
      out[n] = e
    end
  end
  return out
end

local function count(sums, key, make)
  local s = sums[key]
  if not s then
    s = make()
    s.total, s.uniq, s.unknown = 0, 0, 0
    sums[key] = s
  end
  return s
end

-- Is this event's recipient new for (campaign, type, class of reader)? Looks into the batch first, then into the table.
local function first_of_recipient(tx, sums, e)
  local key = e.campaign .. "|" .. e.who .. "|" .. e.type .. "|" .. e.machine
  local r = sums.recipient[key]
  local first = false
  if not r then
    local known = tx:one("SELECT 1 AS n FROM recipient WHERE campaign = ? AND who = ? AND type = ? AND machine = ?", exact(e.campaign),
      e.who,
      e.type, e.machine)
    first = not known
    r = { e = e, known = known, total = 0, first_ms = e.ms, last_ms = e.ms }
    sums.recipient[key] = r
  end
  r.total = r.total + 1
  r.first_ms = e.ms < r.first_ms and e.ms or r.first_ms
  r.last_ms = e.ms > r.last_ms and e.ms or r.last_ms
  return first
end

local function first_of_link(tx, sums, e)
  local key = e.campaign .. "|" .. e.link .. "|" .. e.who .. "|" .. e.machine
  if e.who == "" or sums.clicker[key] then
    return false
  end
  sums.clicker[key] = true
  return tx:run("{ignore}recipient_link (campaign, link, who, machine) VALUES (?, ?, ?, ?)", exact(e.campaign), exact(e.link), e.who,
    e.machine) > 0
end

local function add(tx, sums, e)
  local first = e.who ~= "" and first_of_recipient(tx, sums, e)
  local hour = count(sums.hour, e.campaign .. "|" .. e.ms // HOUR_MS .. "|" .. e.type .. "|" .. e.class, function() return { e = e } end)
  local all = count(sums.campaign, e.campaign .. "|" .. e.type .. "|" .. e.machine, function() return { e = e } end)
  hour.total, all.total = hour.total + 1, all.total + 1
  if first then
    hour.uniq, all.uniq = hour.uniq + 1, all.uniq + 1
  elseif e.who == "" then
    all.unknown = all.unknown + 1
  end
  if e.type == "click" then
    local link = count(sums.link, e.campaign .. "|" .. e.link .. "|" .. e.machine, function() return { e = e } end)
    link.total = link.total + 1
    link.uniq = link.uniq + (first_of_link(tx, sums, e) and 1 or 0)
  end
  local span = sums.span[e.campaign] or { first = e.ms, last = e.ms }
  sums.span[e.campaign] = { first = e.ms < span.first and e.ms or span.first, last = e.ms > span.last and e.ms or span.last }
end

local function write_recipients(tx, sums)
  for _, r in pairs(sums.recipient) do
    local e = r.e
    if r.known then
      tx:run("UPDATE recipient SET total = total + ?, last_ms = CASE WHEN last_ms < ? THEN ? ELSE last_ms END, "
        .. "first_ms = CASE WHEN first_ms > ? THEN ? ELSE first_ms END WHERE campaign = ? AND who = ? AND type = ? AND machine = ?",
        r.total, r.last_ms, r.last_ms, r.first_ms, r.first_ms, exact(e.campaign), e.who, e.type, e.machine)
    else
      tx:run("INSERT INTO recipient (campaign, who, type, machine, first_ms, last_ms, total) VALUES (?, ?, ?, ?, ?, ?, ?)",
        exact(e.campaign),
        e.who, e.type, e.machine, r.first_ms, r.last_ms, r.total)
    end
  end
end

local function write_sums(tx, sums)
  local plus = tx.dialect.add_on_conflict
  write_recipients(tx, sums)
  for _, s in pairs(sums.hour) do
    tx:run("INSERT INTO rollup_hour (campaign, hour, type, class, total, uniq) VALUES (?, ?, ?, ?, ?, ?)"
      .. plus({ "campaign", "hour", "type", "class" }, { "total", "uniq" }),
      exact(s.e.campaign), s.e.ms // HOUR_MS, s.e.type, s.e.class, s.total, s.uniq)
  end
  for _, s in pairs(sums.campaign) do
    tx:run("INSERT INTO rollup_campaign (campaign, type, machine, total, uniq, unknown_who) VALUES (?, ?, ?, ?, ?, ?)"
      .. plus({ "campaign", "type", "machine" }, { "total", "uniq", "unknown_who" }),
      exact(s.e.campaign), s.e.type, s.e.machine, s.total, s.uniq, s.unknown)
  end
  for _, s in pairs(sums.link) do
    tx:run("INSERT INTO rollup_link (campaign, link, machine, total, uniq) VALUES (?, ?, ?, ?, ?)"
      .. plus({ "campaign", "link", "machine" }, { "total", "uniq" }),
      exact(s.e.campaign), exact(s.e.link), s.e.machine, s.total, s.uniq)
  end
  for campaign, span in pairs(sums.span) do
    if tx:run("UPDATE campaign SET first_ms = CASE WHEN first_ms > ? THEN ? ELSE first_ms END, "
      .. "last_ms = CASE WHEN last_ms < ? THEN ? ELSE last_ms END WHERE id = ?",
      span.first, span.first, span.last, span.last, exact(campaign)) == 0 then
      tx:run("{ignore}campaign (id, first_ms, last_ms) VALUES (?, ?, ?)", exact(campaign), span.first, span.last)
    end
  end
end

local function insert(tx, tracker, e)
  return tx:run("{ignore}events (tracker, epoch, seq, type, ms, campaign, who, link, level, class, reasons, since, address, agent, "
    .. "listener, tls, method) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    tracker, exact(e.epoch), exact(e.seq), e.type, e.ms, exact(e.campaign), e.who, exact(e.link), e.level, e.class, e.reasons, e.since,
    e.address, e.agent, e.listener, e.tls, e.method) > 0
end

local function alarm_accepted(tx, a)
  local row = tx:one("SELECT {int:accepted_ms} FROM alarm WHERE tracker = ? AND kind = ? AND epoch = ? AND expected = ? AND found = ?",
    a.tracker,
    a.kind, exact(a.epoch), exact(a.expected), exact(a.found))
  return row and row.accepted_ms ~= nil
end

local function write_alarm(tx, a, now)
  tx:run("{ignore}alarm (tracker, kind, epoch, expected, found, position, at_ms, pauses) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", a.tracker,
    a.kind,
    exact(a.epoch), exact(a.expected), exact(a.found), exact(a.position), now, a.pauses)
end

local function load_epoch(tx, tracker, epoch)
  local row = tx:one("SELECT {int:first_seq}, {int:last_seq} FROM epoch WHERE tracker = ? AND epoch = ?", tracker, exact(epoch))
  return row or { first_seq = nil, last_seq = 0 }
end

-- What stands between an event and the last one of its epoch. fresh: this database knows nothing of the tracker yet, so whatever came
-- before was acknowledged to a database that is gone: that cannot be mended by waiting, so it is said and taken as it is.
local function check_gap(tx, batch, ep, e)
  if e.seq == ep.last_seq + 1 then
    return
  end
  local fresh = batch.fresh and not ep.first_seq
  local a = { tracker = batch.tracker, kind = fresh and "lost" or "gap", epoch = e.epoch, expected = ep.last_seq + 1, found = e.seq,
    position = batch.after, pauses = fresh and 0 or 1 }
  if fresh then
    write_alarm(tx, a, batch.now)
    batch.lost = (batch.lost or 0) + e.seq - 1
  elseif not alarm_accepted(tx, a) then
    batch.alarm = a
    tx:fail("gap") -- apply raises the alarm in a transaction of its own
  end
end

local function take(tx, batch)
  local sums = { recipient = {}, clicker = {}, hour = {}, campaign = {}, link = {}, span = {} }
  local epochs = {}
  for _, e in ipairs(batch.events) do
    local ep = epochs[e.epoch] or load_epoch(tx, batch.tracker, e.epoch)
    epochs[e.epoch] = ep
    if e.seq > ep.last_seq then
      check_gap(tx, batch, ep, e)
      ep.first_seq, ep.last_seq, ep.changed = ep.first_seq or e.seq, e.seq, true
      if insert(tx, batch.tracker, e) then
        batch.new = batch.new + 1
        add(tx, sums, e)
      end
    end
  end
  write_sums(tx, sums)
  for epoch, ep in pairs(epochs) do
    if ep.changed then
      tx:run("INSERT INTO epoch (tracker, epoch, first_seq, last_seq) VALUES (?, ?, ?, ?)"
        .. tx.dialect.replace_on_conflict({ "tracker", "epoch" }, { "last_seq" }),
        batch.tracker, exact(epoch), exact(ep.first_seq), exact(ep.last_seq))
    end
  end
end

local function note_source(tx, batch)
  local upto = batch.upto_ms
  for _, e in ipairs(batch.events or {}) do
    upto = (not upto or e.ms > upto) and e.ms or upto
  end
  tx:run("INSERT INTO source (place, tracker, upto_ms, seen_ms, fault, fetched) VALUES (?, ?, ?, ?, '', ?)"
    .. tx.dialect.replace_on_conflict({ "place" }, { "tracker", "upto_ms", "seen_ms", "fault", "fetched" }),
    batch.place, batch.tracker, upto, batch.now, #(batch.events or {}))
  -- A tracker whose port or host has changed is at one place only; what was said of the old one is over.
  tx:run("DELETE FROM source WHERE place <> ? AND (tracker = ? OR tracker IS NULL)", batch.place, batch.tracker)
end

local function apply_in(tx, batch)
  local cursor = tx:one("SELECT {int:position} FROM cursor_at WHERE tracker = ?", batch.tracker)
  if (cursor and cursor.position or 0) ~= batch.after then
    tx:fail("the cursor of tracker " .. batch.tracker .. " was moved by somebody else; reading again from where it is")
  end
  batch.new, batch.lost, batch.alarm, batch.fresh = 0, nil, nil, not cursor
  take(tx, batch)
  if cursor then
    tx:run("UPDATE cursor_at SET position = ? WHERE tracker = ?", exact(batch.last), batch.tracker)
  else
    tx:run("INSERT INTO cursor_at (tracker, position, started_ms) VALUES (?, ?, ?)", batch.tracker, exact(batch.last), batch.now)
  end
  note_source(tx, batch)
end

local methods = {}
local metatable = { __index = methods }

local function new(db)
  return setmetatable({ db = db }, metatable)
end

--- Has anything been fetched into this database? -> true | false | nil, why
function methods:has_read()
  local row, why = self.db:one("SELECT tracker FROM cursor_at LIMIT 1")
  if row == nil then
    return nil, why
  end
  return row and true
end

--- -> position (0: nothing yet) | nil, why
function methods:position(tracker)
  local row, why = self.db:one("SELECT {int:position} FROM cursor_at WHERE tracker = ?", tracker)
  if row == nil then
    return nil, why
  end
  return row and row.position or 0
end

--- The tracker that answered at a place before. -> id | false | nil, why
function methods:tracker_at(place)
  local row, why = self.db:one("SELECT tracker FROM source WHERE place = ?", place)
  if row == nil then
    return nil, why
  end
  return row and row.tracker or false
end

--- batch {tracker=, place=, after=, last=, body=NDJSON, now=, upto_ms=} -> {new=, seen=, lost=} | {alarm=} | nil, why
function methods:apply(batch)
  local events, why = parse_all(batch.body, batch.tracker)
  if not events then
    return nil, "damaged answer of tracker " .. batch.tracker .. ", " .. why
  end
  batch.events, batch.alarm = events, nil
  local done, fault = self.db:transaction(apply_in, batch)
  if done then
    return { new = batch.new, seen = #events, lost = batch.lost }
  elseif batch.alarm then
    local raised, db_fault = self:raise(batch.alarm, batch.now)
    return raised and { alarm = batch.alarm }, db_fault
  end
  return nil, fault
end

function methods:raise(a, now)
  return self.db:transaction(function(tx) write_alarm(tx, a, now) end)
end

--- Is this alarm accepted by a person? -> boolean | nil, why
function methods:accepted(a)
  local row, why = self.db:one("SELECT {int:accepted_ms} FROM alarm WHERE tracker = ? AND kind = ? AND epoch = ? AND expected = ? AND "
    .. "found = ?",
    a.tracker, a.kind, exact(a.epoch), exact(a.expected), exact(a.found))
  if row == nil then
    return nil, why
  end
  return row and row.accepted_ms ~= nil or false
end

function methods:accept(a, account, now)
  return self.db:run("UPDATE alarm SET accepted_ms = ?, accepted_by = ? WHERE tracker = ? AND kind = ? AND epoch = ? AND expected = ? "
    .. "AND found = ? "
    .. "AND accepted_ms IS NULL", now, account, a.tracker, a.kind, exact(a.epoch), exact(a.expected), exact(a.found))
end

--- Begin again at the front of a tracker's spool (after an accepted "rewind").
function methods:rewind(tracker)
  return self.db:run("UPDATE cursor_at SET position = 0 WHERE tracker = ?", tracker)
end

--- What became of the last try to fetch.
function methods:note_fault(place, fault, now)
  return self.db:transaction(function(tx)
    if tx:run("UPDATE source SET fault = ?, fault_ms = ? WHERE place = ?", fault, now, place) == 0 then
      tx:run("INSERT INTO source (place, fault, fault_ms, fetched) VALUES (?, ?, ?, 0)", place, fault, now)
    end
  end)
end

--- Nothing new at `now`: everything up to then is here. Also records which tracker answers there.
function methods:note_idle(batch)
  return self.db:transaction(note_source, batch)
end

return { new = new, parse = parse }

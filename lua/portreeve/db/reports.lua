--- What the ui's pages ask. Reads roll-ups only, never the events themselves; every answer is bounded.
local ipairs, setmetatable, tointeger, tonumber = ipairs, setmetatable, math.tointeger, tonumber
local _ENV = nil

local DAY = 24
local BUCKETS_MAX = { hour = 96, day = 92 }
local BUCKETS_MIN = { hour = 12, day = 7 } -- a few hours are no reason for bars as wide as the page

local methods = {}
local metatable = { __index = methods }

local function new(db)
  return setmetatable({ db = db }, metatable)
end

local function empty_sums()
  local function pair()
    return { [0] = { total = 0, uniq = 0, unknown = 0 }, [1] = { total = 0, uniq = 0, unknown = 0 } }
  end
  return { open = pair(), click = pair(), unsubscribe = pair(), resubscribe = pair(), trap = pair() }
end

local function add_sums(sums, rows)
  for _, r in ipairs(rows) do
    local machine = tointeger(tonumber(r.machine))
    if sums[r.type] and sums[r.type][machine] then
      sums[r.type][machine] = { total = r.total, uniq = r.uniq, unknown = r.unknown_who }
    end
  end
  return sums
end

local SUMS = "SELECT {int:campaign}, type, machine, {int:total}, {int:uniq}, {int:unknown_who} FROM rollup_campaign WHERE campaign = ?"

--- Newest first: { {id, first_ms, last_ms, sums[type][machine] = {total, uniq, unknown}} … }, more = there are further ones
function methods:campaigns(limit, offset)
  local list, why = self.db:rows("SELECT {int:id}, {int:first_ms}, {int:last_ms} FROM campaign ORDER BY last_ms DESC, id DESC LIMIT ? "
    .. "OFFSET ?",
    limit + 1, offset)
  if not list then
    return nil, why
  end
  local more = #list > limit
  list[limit + 1] = nil
  for _, c in ipairs(list) do
    local rows, fault = self.db:rows(SUMS, c.id)
    if not rows then
      return nil, fault
    end
    c.sums = add_sums(empty_sums(), rows)
  end
  list.more = more
  return list
end

--- -> {id, first_ms, last_ms, sums} | false | nil, why
function methods:campaign(id)
  local c, why = self.db:one("SELECT {int:id}, {int:first_ms}, {int:last_ms} FROM campaign WHERE id = ?", id)
  if not c then
    return c, why
  end
  local rows, fault = self.db:rows(SUMS, id)
  if not rows then
    return nil, fault
  end
  c.sums = add_sums(empty_sums(), rows)
  return c
end

--- -> { {link, human = {total, uniq}, machine = {total, uniq}} … } most clicked first
function methods:links(id, limit)
  return self.db:rows("SELECT {int:link}, {int:SUM(CASE WHEN machine = 0 THEN total ELSE 0 END) as human}, "
    .. "{int:SUM(CASE WHEN machine = 0 THEN uniq ELSE 0 END) as human_uniq}, {int:SUM(CASE WHEN machine = 1 THEN total ELSE 0 END) as "
      .. "machine}, "
    .. "{int:SUM(CASE WHEN machine = 1 THEN uniq ELSE 0 END) as machine_uniq} FROM rollup_link WHERE campaign = ? GROUP BY link "
    .. "ORDER BY SUM(total) DESC, link LIMIT ?", id, limit)
end

--- By class: { {type, class, total, uniq} … }
function methods:classes(id)
  return self.db:rows("SELECT type, class, {int:SUM(total) as total}, {int:SUM(uniq) as uniq} FROM rollup_hour WHERE campaign = ? "
    .. "GROUP BY type, class ORDER BY type, class", id)
end

--- Opens and clicks over time. by "hour" or "day" -> { by, first (hour number), step (hours), n, cut = earlier ones left out,
-- open = { {human=, machine=} … }, click = … } with n entries each. The span ends with the last event.
function methods:over_time(c, by)
  local step = by == "hour" and 1 or DAY
  local last = c.last_ms // 3600000 // step * step
  local first = c.first_ms // 3600000 // step * step
  local least, most = last - (BUCKETS_MAX[by] - 1) * step, last - (BUCKETS_MIN[by] - 1) * step
  first = first > most and most or first
  local out = { by = by, step = step, cut = first < least, first = first < least and least or first, open = {}, click = {} }
  out.n = (last - out.first) // step + 1
  for i = 1, out.n do
    out.open[i], out.click[i] = { human = 0, machine = 0 }, { human = 0, machine = 0 }
  end
  local rows, why = self.db:rows("SELECT {int:hour - hour % " .. step
    .. " as start}, type, CASE WHEN class IN ('human', 'unknown') THEN 'human' ELSE "
    .. "'machine' END AS reader, {int:SUM(total) as total} FROM rollup_hour WHERE campaign = ? AND hour >= ? AND type IN ('open', 'click') "
    .. "GROUP BY start, type, reader LIMIT 1000", c.id, out.first)
  if not rows then
    return nil, why
  end
  for _, r in ipairs(rows) do
    local slot = out[r.type][(r.start - out.first) // step + 1]
    if slot then
      slot[r.reader] = r.total
    end
  end
  return out
end

--- People named by the level: { {who, opens, clicks, machine, unsubscribed, first_ms, last_ms} … }, more
function methods:recipients(id, limit, offset)
  local list, why = self.db:rows("SELECT who, {int:SUM(CASE WHEN type = 'open' AND machine = 0 THEN total ELSE 0 END) as opens}, "
    .. "{int:SUM(CASE WHEN type = 'click' AND machine = 0 THEN total ELSE 0 END) as clicks}, "
    .. "{int:SUM(CASE WHEN machine = 1 THEN total ELSE 0 END) as machine}, "
    .. "{int:MAX(CASE WHEN type = 'unsubscribe' THEN last_ms ELSE 0 END) as unsubscribed_ms}, "
    .. "{int:MAX(CASE WHEN type = 'resubscribe' THEN last_ms ELSE 0 END) as resubscribed_ms}, "
    .. "{int:MIN(first_ms) as first_ms}, {int:MAX(last_ms) as last_ms} FROM recipient WHERE campaign = ? AND who LIKE 'r%' GROUP BY who "
    .. "ORDER BY MAX(last_ms) DESC, who LIMIT ? OFFSET ?", id, limit + 1, offset)
  if not list then
    return nil, why
  end
  list.more = #list > limit
  list[limit + 1] = nil
  return list
end

--- Where events come from: { {place, tracker, upto_ms, seen_ms, fault, fault_ms, fetched} … }
function methods:sources()
  return self.db:rows("SELECT place, tracker, {int:upto_ms}, {int:seen_ms}, fault, {int:fault_ms}, {int:fetched} FROM source ORDER BY "
    .. "place LIMIT 100")
end

--- Not yet accepted, newest first.
function methods:alarms()
  return self.db:rows("SELECT tracker, kind, {int:epoch}, {int:expected}, {int:found}, {int:position}, {int:at_ms}, pauses FROM alarm "
    .. "WHERE accepted_ms IS NULL ORDER BY at_ms DESC LIMIT 20")
end

--- Rows in the table of events, for the internal status. Counted from the roll-ups.
function methods:counted()
  local row, why = self.db:one("SELECT {int:COALESCE(SUM(total), 0) as n} FROM rollup_campaign")
  return row and row.n, why
end

return { new = new }

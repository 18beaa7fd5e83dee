--- Who may log in, and who is logged in: accounts, sessions, throttle, audit. STATE/db/system.db, shared by hub and ui of one host.
-- Session and throttle times are on the monotonic clock of this boot, so that a clock that jumps revives and ends nothing.
local sys = require "portreeve.sys"
local static = require "portreeve.web.static"
local ceil, ipairs, setmetatable, tonumber = math.ceil, ipairs, setmetatable, tonumber
local _ENV = nil

local IDLE_MS = 15 * 60 * 1000
local ABSOLUTE_MS = 12 * 3600 * 1000
local TOUCH_MS = 20 * 1000 -- a page view writes at most this often
local SESSIONS_MAX = 50 -- of one account; the oldest go first
local THROTTLE_ROWS = 10000
local FORGET_MS = 15 * 60 * 1000

local methods = {}
local metatable = { __index = methods }

local function new(db)
  return setmetatable({ db = db, boot = sys.boot_id() }, metatable)
end

-- -> number | nil, why
function methods:count()
  local row, why = self.db:one("SELECT COUNT(*) AS n FROM account")
  return row and tonumber(row.n), why
end

-- -> {name, hash, role} | false | nil, why
function methods:find(name)
  return self.db:one("SELECT name, hash, role FROM account WHERE name = ?", name)
end

function methods:names()
  return self.db:rows("SELECT name, role FROM account ORDER BY name LIMIT 100")
end

--- The first account: only while there is none. -> true | false (there is one) | nil, why
function methods:create_first(name, hash)
  return self.db:transaction(function(tx)
    if tonumber(tx:one("SELECT COUNT(*) AS n FROM account").n) > 0 then
      return false
    end
    tx:run("INSERT INTO account (name, hash, role, created_ms) VALUES (?, ?, ?, ?)", name, hash, "administrator", sys.now_ms())
    return true
  end)
end

local function id_of(token)
  return static.hex(sys.sha256("session:" .. token))
end

--- A new session; its token goes into the cookie and nowhere else. -> token | nil, why
function methods:begin_session(account, address)
  local token, mono = static.hex(sys.random(16)), sys.mono_ms()
  local ok, why = self.db:transaction(function(tx)
    tx:run("DELETE FROM session WHERE boot <> ? OR used_mono < ? OR created_mono < ?", self.boot, mono - IDLE_MS, mono - ABSOLUTE_MS)
    local old = tx:rows("SELECT id FROM session WHERE account = ? ORDER BY created_mono DESC LIMIT 1000", account)
    for i, row in ipairs(old) do
      if i >= SESSIONS_MAX then
        tx:run("DELETE FROM session WHERE id = ?", row.id)
      end
    end
    tx:run("INSERT INTO session (id, account, boot, created_mono, used_mono, created_ms, address) VALUES (?, ?, ?, ?, ?, ?, ?)",
      id_of(token), account, self.boot, mono, mono, sys.now_ms(), address)
    tx:run("UPDATE account SET login_ms = ? WHERE name = ?", sys.now_ms(), account)
  end)
  return ok and token, why
end

--- -> {account, role} | false (none, ended) | nil, why
function methods:session(token)
  if not token or not token:match("^%x+$") or #token ~= 32 then
    return false
  end
  local id, mono = id_of(token), sys.mono_ms()
  local row, why = self.db:one("SELECT s.account, a.role, s.boot, {int:s.created_mono}, {int:s.used_mono} FROM session s "
    .. "JOIN account a ON a.name = s.account WHERE s.id = ?", id)
  if not row then
    return row, why
  end
  if row.boot ~= self.boot or mono - row.used_mono > IDLE_MS or mono - row.created_mono > ABSOLUTE_MS then
    self.db:run("DELETE FROM session WHERE id = ?", id)
    return false
  end
  if mono - row.used_mono > TOUCH_MS then
    self.db:run("UPDATE session SET used_mono = ? WHERE id = ?", mono, id)
  end
  return { account = row.account, role = row.role }
end

function methods:end_session(token)
  return self.db:run("DELETE FROM session WHERE id = ?", id_of(token))
end

-- Free tries, then 2, 4, 8 … seconds, at most `most`. An address has more tries than an account: many people share one.
local limits = { a = { free = 10, most = 900 }, u = { free = 5, most = 60 } }

local function throttle_names(account, address)
  return { "a:" .. address, "u:" .. static.hex(sys.sha256(account)) }
end

--- How long this account or address has to wait before another try. -> seconds (0: go ahead) | nil, why
function methods:must_wait(account, address)
  local wait, mono = 0, sys.mono_ms()
  for _, name in ipairs(throttle_names(account, address)) do
    local row, why = self.db:one("SELECT fails, boot, {int:last_mono} FROM throttle WHERE name = ?", name)
    if row == nil then
      return nil, why
    end
    local limit = limits[name:sub(1, 1)]
    if row and row.boot == self.boot and row.fails >= limit.free and mono - row.last_mono < FORGET_MS then
      local seconds = 2 ^ (row.fails - limit.free + 1)
      seconds = seconds > limit.most and limit.most or seconds
      local left = seconds - (mono - row.last_mono) / 1000
      wait = left > wait and left or wait
    end
  end
  return ceil(wait)
end

function methods:count_failure(account, address)
  return self.db:transaction(function(tx)
    local mono = sys.mono_ms()
    tx:run("DELETE FROM throttle WHERE boot <> ? OR last_mono < ?", self.boot, mono - FORGET_MS)
    if tonumber(tx:one("SELECT COUNT(*) AS n FROM throttle").n) > THROTTLE_ROWS then
      tx:run("DELETE FROM throttle WHERE last_mono < ?", mono - FORGET_MS / 15)
    end
    for _, name in ipairs(throttle_names(account, address)) do
      if tx:run("UPDATE throttle SET fails = fails + 1, last_mono = ?, boot = ? WHERE name = ?", mono, self.boot, name) == 0 then
        tx:run("INSERT INTO throttle (name, fails, boot, last_mono) VALUES (?, 1, ?, ?)", name, self.boot, mono)
      end
    end
  end)
end

function methods:forget_failures(account, address)
  for _, name in ipairs(throttle_names(account, address)) do
    self.db:run("DELETE FROM throttle WHERE name = ?", name)
  end
end

--- One line that is only ever added to: who did what from where.
function methods:audit(account, address, what, detail)
  return self.db:run("INSERT INTO audit (at_ms, id, account, address, what, detail) VALUES (?, ?, ?, ?, ?, ?)", sys.now_ms(),
    static.hex(sys.random(8)), account, address, what, detail or "")
end

--- Something another server is to do; a newer wish replaces an older one.
function methods:make_wish(what, value, account, address)
  return self.db:transaction(function(tx)
    tx:run("DELETE FROM wish WHERE what = ?", what)
    tx:run("INSERT INTO wish (what, value, account, address, asked_ms, refused) VALUES (?, ?, ?, ?, ?, 0)", what, value, account, address,
      sys.now_ms())
  end)
end

-- -> {value=, account=, address=, asked_ms=, tried_ms=, fault=, refused=} | false | nil, why
function methods:wish(what)
  local row, why = self.db:one("SELECT value, account, address, {int:asked_ms}, {int:tried_ms}, fault, {int:refused} FROM wish "
    .. "WHERE what = ?", what)
  if row then
    row.refused = row.refused == 1
  end
  return row, why
end

--- How a try ended: nil = it is fulfilled, else {fault=, refused=}. A wish that was replaced meanwhile stays.
function methods:note_wish(what, wish, result)
  if not result then
    return self.db:run("DELETE FROM wish WHERE what = ? AND asked_ms = ?", what, wish.asked_ms)
  end
  return self.db:run("UPDATE wish SET tried_ms = ?, fault = ?, refused = ? WHERE what = ? AND asked_ms = ?", sys.now_ms(),
    result.fault or "", result.refused and 1 or 0, what, wish.asked_ms)
end

--- What the hub knows of a component at a place.
function methods:note_contact(component, place, contact)
  return self.db:transaction(function(tx)
    if tx:run("UPDATE contact SET tried_ms = ?, fault = ? WHERE component = ? AND place = ?", sys.now_ms(), contact.fault or "", component,
      place) == 0 then
      tx:run("INSERT INTO contact (component, place, tried_ms, fault) VALUES (?, ?, ?, ?)", component, place, sys.now_ms(), contact.fault
        or "")
    end
    if not contact.fault then
      tx:run("UPDATE contact SET seen_ms = ?, version = ?, status = ? WHERE component = ? AND place = ?", sys.now_ms(),
        contact.version, contact.status, component, place)
    end
    tx:run("DELETE FROM contact WHERE component = ? AND place <> ?", component, place)
  end)
end

function methods:contacts()
  return self.db:map("component",
    "SELECT component, place, {int:tried_ms}, {int:seen_ms}, version, fault, status FROM contact LIMIT 100")
end

return { new = new }

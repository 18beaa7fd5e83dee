--- One database connection that opens itself, notices when its file has been removed or replaced, and never lets an error out as
-- anything but `nil, why`.
--
--   local db = handle.new{ driver = "SQLite3", name = path, prepare = function() … end, migrate = function(db) … end }
--   local db = handle.new{ choose = function() return { driver = …, … } | nil, why end }    asked at every ensure(): the database may
--                                                                                          become another one (M63)
--   db:rows("SELECT {int:ms}, name FROM t WHERE id = ?", 7)   -> { {ms = 1763761803123, name = …} … } | nil, why
--   db:one(sql, …)                                            -> row | false | nil, why
--   db:run(sql, …)                                            -> affected rows | nil, why
--   db:transaction(function(tx) … return value end)           -> value | nil, why
-- Inside a transaction tx:rows, tx:one and tx:run raise on a fault, which rolls back; tx:fail(why) does so by hand. `{int:x}` and
-- `{int:expression as x}` stand for 64-bit integers, `{ignore}` for "insert unless it is there".
-- Statements are prepared once per connection and text: every text in this program is a constant or one of a few.
local dialects = require "portreeve.db.dialect"
local sys = require "portreeve.sys"
local error, getmetatable, ipairs, next, pairs, pcall, setmetatable, table_unpack, tointeger, tonumber, tostring, type =
  error, getmetatable, ipairs, next, pairs, pcall, setmetatable, table.unpack, math.tointeger, tonumber, tostring, type
local _ENV = nil

local BUSY_TRIES = 5
local STATEMENTS_MAX = 200
local REST_MS, REST_MOST_MS = 500, 30000 -- between attempts to connect that fail

local db_error = {} -- metatable of what transactions raise
local methods, tx_methods = {}, {}
local metatable, tx_metatable = { __index = methods }, { __index = tx_methods }

local function new(spec)
  return setmetatable({ spec = spec, choose = spec.choose, finish = spec.finish, dialect = dialects[spec.driver or "SQLite3"] }, metatable)
end

-- Statements first: SQLite does not close a connection that has living ones, and lua-dbi would lose it.
local function close_statements(self)
  for _, known in pairs(self.statements or {}) do
    pcall(known.handle.close, known.handle)
  end
  self.statements, self.count = {}, 0
end

local function forget(self)
  close_statements(self)
  if self.connection then
    pcall(self.connection.close, self.connection)
  end
  self.connection, self.statements, self.count, self.id = nil, nil, 0, nil
end

function methods:close()
  forget(self)
  if self.finish then
    self.finish()
  end
end

-- Names of the integer columns, and the statement with the dialect's words in place.
local function translate(self, sql)
  local ints = {}
  local text = sql:gsub("{int:([^}]+)}", function(what)
    local expression, name = what:match("^(.-)%s+as%s+([%w_]+)$")
    if not expression then
      expression, name = what, what:match("([%w_]+)$")
    end
    ints[name] = true
    return self.dialect.int(expression, name)
  end)
  text = text:gsub("{ignore}", function() return self.dialect.insert_ignore end)
  return text, ints
end

local function statement(self, sql)
  local known = self.statements[sql]
  if known then
    return known
  end
  local text, ints = translate(self, sql)
  local handle, why = self.connection:prepare(text)
  if not handle then
    return nil, why or "cannot prepare a statement"
  end
  if self.count >= STATEMENTS_MAX then
    close_statements(self)
  end
  known = { handle = handle, ints = ints }
  self.statements[sql], self.count = known, self.count + 1
  return known
end

-- Nothing can be asked of this connection any more: the next ensure() makes a new one.
local function drop(self, why)
  forget(self)
  return why
end

local function execute(self, sql, ...)
  local st, why = statement(self, sql)
  if not st then
    return nil, why
  end
  local called, ok, fault = pcall(st.handle.execute, st.handle, ...)
  if not called or not ok then
    pcall(st.handle.close, st.handle)
    self.statements[sql], self.count = nil, self.count - 1
    local said = tostring(not called and ok or fault or "cannot execute")
    return nil, self.dialect.lost and self.dialect.lost(said) and drop(self, said) or said
  end
  return st
end

local function fetch_all(st)
  local out, n = {}, 0
  while true do
    local called, row = pcall(st.handle.fetch, st.handle, true)
    if not called then
      return nil, tostring(row)
    end
    if not row then
      return out
    end
    if next(st.ints) then
      for name in pairs(st.ints) do
        local v = row[name]
        row[name] = v and (tointeger(tonumber(v)) or tonumber(v))
      end
    end
    n = n + 1
    out[n] = row
  end
end

local function raw_rows(self, sql, ...)
  local st, why = execute(self, sql, ...)
  if not st then
    return nil, why
  end
  return fetch_all(st)
end

-- Each attempt that fails may cost memory for good (dialect.lua), and somebody else's server a line in its log.
local function rest(self, why)
  if self.dialect.loses_failures then
    local ms = self.failed and self.failed.ms * 2 or REST_MS
    ms = ms > REST_MOST_MS and REST_MOST_MS or ms
    self.failed = { why = why, ms = ms, till = sys.mono_ms() + ms }
  end
end

local function open(self)
  if self.spec.prepare then
    self.spec.prepare()
  end
  local resting = self.failed
  if resting and sys.mono_ms() < resting.till then
    return nil, resting.why
  end
  local connection, why = self.dialect.connect(self.spec)
  if not connection then
    why = tostring(self.spec.name) .. ": " .. tostring(why)
    rest(self, why)
    return nil, why
  end
  self.failed = nil
  connection:autocommit(true)
  self.connection, self.statements, self.count = connection, {}, 0
  for _, sql in ipairs(self.dialect.setup(self.spec)) do
    local ok, fault = (self.dialect.setup_answers and raw_rows or execute)(self, sql)
    if not ok then
      forget(self)
      return nil, tostring(self.spec.name) .. ": " .. tostring(fault)
    end
  end
  self.id = not self.dialect.alive and sys.file_id(self.spec.name) or nil
  if self.spec.migrate then
    local ok, fault = self.spec.migrate(self)
    if not ok then
      forget(self)
      return nil, tostring(self.spec.name) .. ": " .. tostring(fault)
    end
  end
  return true
end

-- Which database it is now. -> true | nil, why
local function decide(self)
  local spec, why = self.choose()
  if not spec then
    return nil, why
  end
  for _, key in ipairs { "driver", "name", "user", "password", "host", "port" } do
    if spec[key] ~= self.spec[key] then
      forget(self)
      self.spec, self.dialect, self.failed = spec, dialects[spec.driver], nil
      return true
    end
  end
  return true
end

--- Does the path still name the file this connection writes to? SQLite writes happily into a file that has been removed.
function methods:current()
  if not self.connection then
    return false
  elseif self.dialect.alive then
    return self.dialect.alive(self.connection) and true or false
  end
  return sys.file_id(self.spec.name) == self.id
end

--- Open where needed; reopen where the file has been removed or replaced. -> true | nil, why
function methods:ensure()
  if self.choose then
    local ok, why = decide(self)
    if not ok then
      return nil, why
    end
  end
  if self.connection and not self:current() then
    local what = self.dialect.alive and ": the server ended the connection; making a new one"
      or ": the file was removed or replaced while in use; opening it anew"
    sys.log("warn", "db", tostring(self.spec.name) .. what)
    forget(self)
  end
  if self.connection then
    return true
  end
  return open(self)
end

function methods:rows(sql, ...)
  if not self.connection then
    local ok, why = self:ensure()
    if not ok then
      return nil, why
    end
  end
  return raw_rows(self, sql, ...)
end

function methods:one(sql, ...)
  local list, why = self:rows(sql, ...)
  if not list then
    return nil, why
  end
  return list[1] or false
end

function methods:run(sql, ...)
  if not self.connection then
    local ok, why = self:ensure()
    if not ok then
      return nil, why
    end
  end
  local st, why = execute(self, sql, ...)
  return st and st.handle:affected(), why
end

local function raise(why)
  error(setmetatable({ why = tostring(why) }, db_error), 0)
end

function tx_methods:fail(why) -- luacheck: ignore 212
  raise(why)
end

function tx_methods:rows(sql, ...)
  local list, why = raw_rows(self.db, sql, ...)
  return list or raise(why)
end

function tx_methods:one(sql, ...)
  return self:rows(sql, ...)[1] or false
end

function tx_methods:run(sql, ...)
  local st, why = execute(self.db, sql, ...)
  if not st then
    raise(why)
  end
  return st.handle:affected()
end

local function boundary(self, what)
  if not self.connection then
    return nil, "the connection has ended"
  end
  if self.dialect[what] then
    local st, why = execute(self, self.dialect[what])
    return st and true, why
  end
  local c = self.connection
  if what == "begin" then
    return c:autocommit(false)
  end
  local ok, why = c[what](c)
  c:autocommit(true)
  return ok, why
end

local function attempt(self, body, args)
  local ok, why = boundary(self, "begin")
  if not ok then
    return nil, why, self.dialect.busy(tostring(why))
  end
  local done, value = pcall(body, setmetatable({ db = self, dialect = self.dialect }, tx_metatable), table_unpack(args))
  if done then
    ok, why = boundary(self, "commit")
    if ok then
      return value == nil and true or value
    end
    value = setmetatable({ why = tostring(why) }, db_error)
  end
  if not boundary(self, "rollback") then
    forget(self) -- nothing is known about it any more
  end
  if getmetatable(value) ~= db_error then
    return nil, "fault in a transaction: " .. tostring(value), false
  end
  return nil, value.why, self.dialect.busy(value.why)
end

--- All of body or nothing of it; repeated a few times where another connection held the lock. -> what body returns (true for nothing)
function methods:transaction(body, ...)
  local args = { ... }
  local ok, why = self:ensure()
  if not ok then
    return nil, why
  end
  for try = 1, BUSY_TRIES do
    local value, fault, again = attempt(self, body, args)
    if value ~= nil then
      return value
    end
    if not again or try == BUSY_TRIES or not self.connection then
      return nil, fault
    end
    sys.sleep(20 * try)
  end
end

--- Rows as a map from one column. Helper for stores.
function methods:map(key, sql, ...)
  local list, why = self:rows(sql, ...)
  if type(list) ~= "table" then
    return nil, why
  end
  local out = {}
  for _, row in ipairs(list) do
    out[row[key]] = row
  end
  return out
end

return { new = new }

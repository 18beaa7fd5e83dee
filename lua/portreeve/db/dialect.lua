--- The only file that knows one SQL product from another. A dialect is a constant table of functions and texts; handle.lua and the
-- stores are written against it. SQLite is the default; MySQL and MariaDB differ here and nowhere else.
--
-- lua-dbi's SQLite driver binds every number as a double and reads every integer as 32 bits. So 64-bit columns are asked for as text
-- (`{int:column}` in a statement, see handle.lua) and bound as text where they may pass 2^53.
local DBI = require "DBI"
local net = require "portreeve.net"
local sys = require "portreeve.sys"
local ipairs, tostring, table_concat = ipairs, tostring, table.concat
local _ENV = nil

local REACH_MS = 5000

local function columns_set(columns, form)
  local out = {}
  for i, c in ipairs(columns) do
    out[i] = form(c)
  end
  return table_concat(out, ", ")
end

local sqlite = {
  name = "SQLite3",
  setup_answers = true, -- a PRAGMA gives rows, and its lock goes when they are read
  begin = "BEGIN IMMEDIATE",
  commit = "COMMIT",
  rollback = "ROLLBACK",
  insert_ignore = "INSERT OR IGNORE INTO ",
  without_rowid = " WITHOUT ROWID",
  tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name = ?",
  version = "SELECT sqlite_version() AS version",
}

-- spec {name = path} -> connection | nil, why
-- The file is looked at first: lua-dbi loses the handle of a database that cannot be opened, at every attempt. It must not be opened
-- for that: closing it again would give up the locks of every connection that this process has to it.
function sqlite.connect(spec)
  local ok, why = sys.can_open(spec.name)
  if not ok then
    return nil, "unable to open the database file: " .. why:sub(#spec.name + 3)
  end
  return DBI.Connect("SQLite3", spec.name)
end

-- Statements run once on a new connection. FULL: what is acknowledged to the tracker must survive a power cut.
function sqlite.setup(spec)
  return {
    "PRAGMA busy_timeout = " .. tostring(spec.busy_ms or 5000),
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
  }
end

function sqlite.int(expression, name)
  return "CAST(" .. expression .. " AS TEXT) AS " .. name
end

-- Behind an INSERT: add the new row's `columns` to those of the row that is there.
function sqlite.add_on_conflict(keys, columns)
  return " ON CONFLICT(" .. table_concat(keys, ", ") .. ") DO UPDATE SET "
    .. columns_set(columns, function(c) return c .. " = " .. c .. " + excluded." .. c end)
end

function sqlite.replace_on_conflict(keys, columns)
  return " ON CONFLICT(" .. table_concat(keys, ", ") .. ") DO UPDATE SET "
    .. columns_set(columns, function(c) return c .. " = excluded." .. c end)
end

-- Is it worth another try soon (somebody else holds the lock)?
function sqlite.busy(why)
  return why:find("locked", 1, true) ~= nil or why:find("busy", 1, true) ~= nil
end

local mysql = {
  name = "MySQL",
  loses_failures = true, -- lua-dbi never frees a connection that a server refused: 1.8 kB at each attempt
  begin = nil, -- by the connection: these are not preparable there
  commit = nil,
  rollback = nil,
  insert_ignore = "INSERT IGNORE INTO ",
  without_rowid = " ENGINE = InnoDB DEFAULT CHARSET = utf8mb4",
  tables = "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ?",
  version = "SELECT VERSION() AS version",
}

-- spec {name, user, password, host, port}. "localhost" would mean the Unix socket to MySQL clients, whatever the port says (M62).
function mysql.connect(spec)
  local host = spec.host
  if spec.port and (host == nil or host == "localhost") then
    host = "127.0.0.1"
  end
  -- The client waits two minutes for a host that swallows packets, and lua-dbi loses a handle that could not be connected.
  local there, why = net.reachable(host or "127.0.0.1", spec.port or 3306, REACH_MS)
  if not there then return nil, why end
  return DBI.Connect("MySQL", spec.name, spec.user, spec.password, host, spec.port)
end

function mysql.setup()
  return { "SET SESSION sql_mode = 'STRICT_ALL_TABLES'" }
end

function mysql.int(expression, name)
  return "CAST(" .. expression .. " AS CHAR) AS " .. name
end

function mysql.add_on_conflict(_, columns)
  return " ON DUPLICATE KEY UPDATE "
    .. columns_set(columns, function(c) return c .. " = " .. c .. " + VALUES(" .. c .. ")" end)
end

function mysql.replace_on_conflict(_, columns)
  return " ON DUPLICATE KEY UPDATE " .. columns_set(columns, function(c) return c .. " = VALUES(" .. c .. ")" end)
end

-- A server may have ended the connection meanwhile.
function mysql.alive(connection)
  return connection:ping()
end

-- Does the fault mean that the connection is gone?
function mysql.lost(why)
  return why:find("gone away", 1, true) ~= nil or why:find("Lost connection", 1, true) ~= nil
end

-- 1213 deadlock (also Galera's certification failure), 1205 lock wait timeout.
function mysql.busy(why)
  return why:find("Deadlock", 1, true) ~= nil or why:find("Lock wait timeout", 1, true) ~= nil
end

return { SQLite3 = sqlite, MySQL = mysql }

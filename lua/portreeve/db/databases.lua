--- Which database the ui keeps its events in: its own file, or a MySQL or MariaDB server that is described in the hub (M58–M63). The
-- description lies in system.db, so that hub and ui of one host go by the same one; the ui asks at every turn, so no restart is needed.
local sys = require "portreeve.sys"
local setmetatable, tointeger, tonumber = setmetatable, math.tointeger, tonumber
local _ENV = nil

local UI = "ui"
-- The names that the product this replaces has for them.
local INTERNAL, MYSQL = "Internal Database (SQLite)", "MySQL ConnectorJ Database Plugin"

local methods = {}
local metatable = { __index = methods }

-- db: the handle of system.db
local function new(db)
  return setmetatable({ db = db }, metatable)
end

--- -> { plugin, name, user, password, host, port, changed_ms, changed_by } | false (nothing said: the internal one) | nil, why
function methods:get()
  local row, why = self.db:one("SELECT plugin, dbname AS name, dbuser AS user, password, host, port, {int:changed_ms}, changed_by "
    .. "FROM database_setting WHERE what = ?", UI)
  if row then
    row.port = tointeger(tonumber(row.port))
  end
  return row, why
end

--- -> true | nil, why
function methods:put(d, by)
  return self.db:transaction(function(tx)
    tx:run("DELETE FROM database_setting WHERE what = ?", UI)
    tx:run("INSERT INTO database_setting (what, plugin, dbname, dbuser, password, host, port, changed_ms, changed_by) "
      .. "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", UI, d.plugin, d.name, d.user, d.password, d.host, d.port, sys.now_ms(), by)
  end)
end

-- A description as handle.new takes it; nil for the internal one.
local function spec_of(d)
  if not d or d.plugin ~= MYSQL then
    return nil
  end
  return { driver = "MySQL", name = d.name, user = d.user, password = d.password, host = d.host, port = d.port }
end

return { new = new, spec_of = spec_of, INTERNAL = INTERNAL, MYSQL = MYSQL }

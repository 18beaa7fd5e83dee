--- Where the state of hub and ui lies, and how its databases are opened. Handles open lazily, on the thread that first uses them.
local accounts = require "portreeve.db.accounts"
local handle = require "portreeve.db.handle"
local schema = require "portreeve.db.schema"
local sys = require "portreeve.sys"
local _ENV = nil

local function folder(state, name)
  sys.make_dir(state)
  sys.make_dir(state .. "/" .. name)
  return state .. "/" .. name
end

local function database(state, name, migrate, busy_ms)
  return handle.new {
    driver = "SQLite3",
    name = state .. "/db/" .. name,
    busy_ms = busy_ms,
    migrate = migrate,
    prepare = function() folder(state, "db") end,
  }
end

-- busy_ms: how long to wait for another writer; nil = 5 s.
local function system(state, busy_ms)
  return accounts.new(database(state, "system.db", schema.system, busy_ms))
end

local function ui(state)
  return database(state, "ui.db", schema.ui)
end

local function keys(state)
  return folder(state, "keys")
end

return { system = system, ui = ui, keys = keys }

--- Where the state of hub and ui lies, and how its databases are opened. Handles open lazily, on the thread that first uses them.
local accounts = require "portreeve.db.accounts"
local databases = require "portreeve.db.databases"
local handle = require "portreeve.db.handle"
local schema = require "portreeve.db.schema"
local sys = require "portreeve.sys"
local tostring = tostring
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

-- The ui's own file, or the server that the hub describes. Where the description cannot be read the last one known counts.
local function ui(state)
  local settings = databases.new(database(state, "system.db", schema.system, 1000))
  local inside, last = database(state, "ui.db", schema.ui).spec, nil
  return handle.new {
    choose = function()
      settings.db:ensure()
      local said, why = settings:get()
      if said == nil then
        return last, "which database to use cannot be read: " .. tostring(why)
      end
      last = databases.spec_of(said) or inside
      last.migrate = schema.ui
      return last
    end,
    finish = function() settings.db:close() end,
  }
end

local function keys(state)
  return folder(state, "keys")
end

return { system = system, ui = ui, keys = keys }

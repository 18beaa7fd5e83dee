--- The hub component: status and reload below /hub/, and the task that keeps contact with the components.
local commport = require "portreeve.hub.commport"
local contacts = require "portreeve.hub.contacts"
local engine = require "portreeve.engine"
local listeners = require "portreeve.hub.listeners"
local lui_database = require "portreeve.hub.lui_database"
local lui_urls = require "portreeve.hub.lui_urls"
local menu = require "portreeve.hub.menu"
local onetime = require "portreeve.web.onetime"
local pages = require "portreeve.hub.pages"
local ports = require "portreeve.hub.ports"
local places = require "portreeve.web.places"
local site = require "portreeve.web.site"
local trk = require "portreeve.hub.trk"
local sys = require "portreeve.sys"
local error, tostring = error, tostring
local _ENV = nil

-- First start: no account exists, and there is no default password. The token is made while the generation is prepared, so that
-- `portreeve run` can print the link as soon as it serves. A short wait only: this may run on the control thread.
local function ensure_setup(state)
  local accounts = places.system(state, 200)
  local count, why = accounts:count()
  local made, fault
  if count == 0 then
    made, fault = onetime.setup_token(places.keys(state))
  end
  accounts.db:close()
  if not count or fault and not made then
    sys.log("error", "hub", "the set-up link cannot be made: " .. tostring(why or fault))
  end
end

local function handler(conf)
  local state = engine.state_dir
  ensure_setup(state)
  local accounts = places.system(state)
  local answer, why = site.new {
    name = "hub", title = "Hub", prefix = "/hub", state = state, accounts = accounts,
    version = function() return engine.status().version end,
    seen = engine.administrator,
    done = { reloaded = "The configuration has been read anew and is in force.",
      refused = "The reload was refused. Nothing has changed; the reason is below.",
      port = "The communications port has been changed and is in force.",
      wished = "The change is kept. It is handed to the tracker as soon as that is reached.",
      database = "The system database has been described anew; the ui uses it from its next turn on.",
      urls = "The URL settings have been saved and are in force.",
      listeners = "The listeners have been changed; the table shows what is in force." },
    nav = menu.nav,
    routes = {
      { "GET", "/", pages.status(engine, contacts.names, conf) },
      { "POST", "/reload", pages.reload(engine) },
      { "GET", "/listeners", listeners.show(engine, conf) },
      { "GET", "/listeners/([%w_.+-]+)", listeners.show_one(engine, conf) },
      { "POST", "/listeners", listeners.update(engine, conf), most = listeners.MOST },
      { "GET", "/lui/urls", lui_urls.show(engine, conf) },
      { "POST", "/lui/urls", lui_urls.save(engine, conf) },
      { "POST", "/lui/urls/group", lui_urls.save_group() },
      { "POST", "/lui/urls/test", lui_urls.test(engine, conf) },
      { "GET", "/lui/database", lui_database.show(conf) },
      { "POST", "/lui/database", lui_database.save(conf) },
      { "POST", "/lui/database/check", lui_database.check(engine, conf) },
      { "GET", "/ports", ports.page(engine) },
      { "GET", "/trk/general", trk.show(engine, conf) },
      { "POST", "/trk/general", trk.update(engine, conf) },
    },
  }
  if not answer then
    error("hub: " .. why)
  end
  return answer
end

return { handler = handler, tasks = { poll = contacts.task(engine, commport.deliver) } }

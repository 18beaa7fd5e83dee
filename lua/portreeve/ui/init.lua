--- The ui component: campaigns and reports below /lui/, and the task that fetches events.
local events = require "portreeve.db.events"
local fetch = require "portreeve.ui.fetch"
local menu = require "portreeve.hub.menu"
local pages = require "portreeve.ui.pages"
local places = require "portreeve.web.places"
local reports = require "portreeve.db.reports"
local site = require "portreeve.web.site"
local engine = require "portreeve.engine"
local error = error
local _ENV = nil

local function handler()
  local state, db = engine.state_dir, places.ui(engine.state_dir)
  local report, store = reports.new(db), events.new(db)
  local answer, why = site.new {
    name = "ui", title = "Campaigns", prefix = "/lui", state = state, accounts = places.system(state),
    version = function() return engine.status().version end,
    done = { accepted = "The alarm has been accepted. Fetching goes on." },
    nav = menu.nav,
    routes = {
      { "GET", "/", pages.campaigns(report) },
      { "GET", "/campaign/(%d+)", pages.campaign(report) },
      { "POST", "/alarms/accept", pages.accept(store) },
    },
  }
  if not answer then
    error("ui: " .. why)
  end
  return function(req)
    db:ensure() -- a removed file is noticed here; a fault shows on the page that needs the data
    return answer(req)
  end
end

local function fetch_task(conf, stop)
  fetch.new({ conf = conf, db = places.ui(engine.state_dir), engine = engine }):run(stop)
end

return { handler = handler, tasks = { fetch = fetch_task } }

--- The main menu, the same in hub and ui, and the tabs of the pages behind one of its items.
local html = require "portreeve.web.html"
local h = html.tag
local _ENV = nil

-- below: the item stands for every page whose path begins so.
local function item(label, href, below)
  local site, path = (below or href):match("^/(%w+)(/.*)$")
  site = site == "lui" and "ui" or site
  return { label = label, href = href, here = function(c)
    local at = c.req.path:gsub("^/%w+", "")
    return c.site.name == site and (path == "/" and (site == "ui" or at == "/") or path ~= "/" and at:sub(1, #path) == path)
  end }
end

local nav = {
  item("Status", "/hub/"),
  item("Listeners", "/hub/listeners"),
  item("Ports", "/hub/ports"),
  item("LUI Settings", "/hub/lui/urls", "/hub/lui/"),
  item("TRK Settings", "/hub/trk/general"),
  item("Campaigns", "/lui/"),
}

local lui = { { label = "URL Settings", path = "/lui/urls" }, { label = "System Database Status", path = "/lui/database" } }

local function tabs(c, list)
  return h.nav { class = "toggle", ["aria-label"] = "Pages of this part", html.map(list, function(t)
    return h.a { href = c.site.prefix .. t.path, ["aria-current"] = c.req.path == c.site.prefix .. t.path and "page" or nil, t.label }
  end) }
end

return { nav = nav, lui = lui, tabs = tabs }

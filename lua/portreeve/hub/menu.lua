--- The main menu, the same in hub and ui.
local _ENV = nil

local function item(label, href)
  local site, path = href:match("^/(%w+)(/.*)$")
  site = site == "lui" and "ui" or site
  return { label = label, href = href, here = function(c)
    local at = c.req.path:gsub("^/%w+", "")
    return c.site.name == site and (path == "/" and (site == "ui" or at == "/") or path ~= "/" and at:sub(1, #path) == path)
  end }
end

local nav = {
  item("Status", "/hub/"),
  item("Listeners", "/hub/listeners"),
  item("TRK Settings", "/hub/trk/general"),
  item("Campaigns", "/lui/"),
}

return { nav = nav }

-- Routing tables: rows of { path =, service =, list =, only = } into one function (req) -> service | nil, status.
local error, ipairs, pairs, type = error, ipairs, pairs, type
local _ENV = nil

local match = {}
local SLASH = ("/"):byte()
local known = { path = "string", service = "string", list = "string", only = "boolean" }

local function check(row, i)
  for key, value in pairs(row) do
    if type(value) ~= known[key] then error(("row %d of the routes: '%s' is unknown or of the wrong type"):format(i, key), 3) end
  end
  if not row.service or not row.path or row.path:byte() ~= SLASH then
    error(("row %d of the routes needs a path that begins with / and a service"):format(i), 3)
  end
end

-- Does the path end with the row's text, or go on below it? The caller has seen that it begins with it.
local function whole(path, prefix, only)
  local n = #prefix
  return #path == n or (not only and path:byte(n + 1) == SLASH)
end

-- only = that very path. list = peers outside lists/NAME.list get 403. Nothing fits, or not on this socket: 404.
function match.routes(rows)
  local n, prefixes, services, lists, exact = #rows, {}, {}, {}, {}
  for i, row in ipairs(rows) do
    check(row, i)
    prefixes[i], services[i], lists[i] = row.path, row.service, row.list or false
    exact[i] = row.path:byte(-1) ~= SLASH and (row.only and "only" or "below") or false
  end
  return function(req)
    for i = 1, n do
      local prefix = prefixes[i]
      if req:fits(prefix, services[i]) and (not exact[i] or whole(req.path, prefix, exact[i] == "only")) then
        local list = lists[i]
        if list and not req:listed(list) then return nil, 403 end
        return services[i]
      end
    end
    return nil, 404
  end
end

return match

--- URL settings held against the sockets: what is meant where nothing is set, which ports nobody answers, which go with a change.
local conf_of = require "portreeve.web.conf"
local urlrules = require "portreeve.hub.urlrules"
local urls = require "portreeve.urls"
local ipairs, tointeger, tonumber, tostring = ipairs, math.tointeger, tonumber, tostring
local _ENV = nil

local MOST = 20 -- warnings of one page

-- As urls.unbound, with the ports of the engine's status as whole numbers.
local function sockets_of(status)
  local out = {}
  for i, s in ipairs(status.listeners or {}) do
    out[i] = { address = s.address, port = tointeger(tonumber(s.port)) or 0, scheme = s.scheme, services = s.services,
      external_tls = s.external_tls, name = s.name, waiting = s.waiting }
  end
  return out
end

-- nil where a socket of this server answers the address, or where this server's sockets are not known.
local function unbound(url, status, service)
  local sockets = sockets_of(status)
  return #sockets > 0 and urls.unbound(url, sockets, service) or nil
end

local function malformed(url)
  local scheme, why = urls.parse(url)
  return not scheme and why or nil
end

-- The address where nobody has said anything: this machine's own name for itself, with the first port that carries the service.
local function built_in(status, conf, setting)
  local written = setting.service == "tracker" and conf_of.written(conf, "lui", "UrlForRecipients")
  if written then
    return written
  end
  local best
  for _, s in ipairs(sockets_of(status)) do
    if ("," .. tostring(s.services) .. ","):find("," .. setting.service .. ",", 1, true) and (not best or best.scheme ~= "http") then
      best = (not best or s.scheme == "http") and s or best
    end
  end
  if not best then
    return "http://localhost" .. setting.path
  end
  local https = best.scheme == "https" or best.external_tls
  local port = best.port == (https and 443 or 80) and "" or ":" .. best.port
  return (https and "https" or "http") .. "://localhost" .. port .. setting.path
end

-- Every address in use: { {url, service, what} … }, those that are set and lui.ini's.
local function in_use(stored, conf)
  local out = {}
  for _, r in ipairs(stored.rows) do
    local s = urlrules.by_key[r.setting]
    if s then
      out[#out + 1] = { url = r.url, service = s.service, tracking = s.service == "tracker",
        what = s.label .. (r.level == "default" and "" or (" of %s %s"):format(r.level, r.name)) }
    end
  end
  local written = conf_of.written(conf, "lui", "UrlForRecipients")
  if written then
    out[#out + 1] = { url = written, service = "tracker", tracking = true, what = "UrlForRecipients of lui.ini" }
  end
  return out
end

-- Addresses in use that no socket answers: texts, bounded.
local function warnings(stored, conf, status)
  local out = {}
  for _, u in ipairs(in_use(stored, conf)) do
    local why = unbound(u.url, status, u.service)
    if why and #out < MOST then
      out[#out + 1] = ("%s, %s: %s."):format(u.what, u.url, why)
    end
  end
  return out
end

-- Addresses in use that a socket answers now and none will, once only the sockets `after` are left (M38): texts, bounded.
local function lost(stored, conf, status, after)
  local out = {}
  for _, u in ipairs(in_use(stored, conf)) do
    local answered = #(status.listeners or {}) > 0 and not unbound(u.url, status, u.service)
    if #out < MOST and answered and urls.unbound(u.url, after, u.service) then
      out[#out + 1] = ("%s is %s: nobody answers there after this.%s"):format(u.what, u.url,
        u.tracking and " Links in mails that have been sent with it stop working." or "")
    end
  end
  return out
end

return { unbound = unbound, malformed = malformed, built_in = built_in, warnings = warnings, lost = lost, sockets_of = sockets_of }

-- Addresses that people and mails are given (M33–M40), held against the sockets that there are.
--   urls.unbound("http://news.example.org:8080/lui", plan, "ui") -> nil where a socket answers it, else a text that says why none does
-- plan: a bind plan ({ sockets = … }), the engine's status ({ listeners = … }) or the bare list of either. service: what the address
-- is for, or nil for any. Only ports, schemes and addresses in figures can be judged: where a name leads to nobody here knows.
local addr = require "portreeve.addr"
local ipairs, tonumber, type = ipairs, tonumber, type
local concat = table.concat
local _ENV = nil

local urls = {}
local standard = { http = 80, https = 443 }
local MOST_NAMED = 6 -- ports that a message lists

-- scheme, host (IPv6 without brackets), port, path | nil, why
function urls.parse(url)
  local scheme, rest = url:match("^(%a+)://(.*)$")
  scheme = scheme and scheme:lower()
  if not standard[scheme] then return nil, "it does not begin with http:// or https://" end
  local authority, path = rest:match("^([^/?#]*)(.*)$")
  authority = authority:gsub("^.*@", "")
  local host, port = authority:match("^%[([%x:.%%%w]+)%]:?(.*)$")
  if not host then host, port = authority:match("^([^:]+):?([^:]*)$") end
  if not host then return nil, "it names no host" end
  if port == "" then return scheme, host:lower(), standard[scheme], path end
  local number = port:find("^%d+$") and #port <= 5 and tonumber(port) or 0
  if number < 1 or number > 65535 then return nil, ("its port %s is not a number from 1 to 65535"):format(port) end
  return scheme, host:lower(), number, path
end

local function offers(socket, service)
  local have = socket.services
  if not service or not have then return true end
  if type(have) == "string" then return ("," .. have .. ","):find("," .. service .. ",", 1, true) ~= nil end
  for _, name in ipairs(have) do
    if name == service then return true end
  end
  return false
end

-- What a caller must speak: a device in front that does TLS makes a plain socket an https one.
local function speaks(socket)
  return (socket.external or socket.external_tls) and "https" or socket.scheme
end

-- Can a caller of `host` meet a socket on this address? A name may lead anywhere, so it always can.
local function reaches(at, host)
  local ip = host == "localhost" and "localhost" or addr.parse(host)
  if not ip then return true end
  if ip == "localhost" then return at == "0.0.0.0" or at == "::" or at == "::1" or at:find("^127%.") ~= nil end
  local v6 = ip:find(":", 1, true) ~= nil
  if at == "0.0.0.0" or at == "::" then return v6 == (at == "::") end
  return at == ip or (at:match("^[^%%]*") == ip:match("^[^%%]*") and not (at:find("%", 1, true) and ip:find("%", 1, true)))
end

local function ports_of(sockets, scheme, service)
  local out, seen = {}, {}
  for _, s in ipairs(sockets) do
    if speaks(s) == scheme and offers(s, service) and not seen[s.port] then
      seen[s.port] = true
      if #out < MOST_NAMED then out[#out + 1] = "" .. s.port end
    end
  end
  return out
end

-- Ports of sockets that speak `scheme`, for the end of a message.
local function instead(sockets, scheme, service)
  local list = ports_of(sockets, scheme, service)
  local what = service and scheme .. " for the " .. service or scheme
  if not list[1] then return ("there is no socket with %s"):format(what) end
  return ("%s is on port %s"):format(what, concat(list, ", "))
end

function urls.unbound(url, plan, service)
  local sockets = plan.sockets or plan.listeners or plan
  local scheme, host, port = urls.parse(url)
  if not scheme then return ("%s: %s"):format(url, host) end
  local elsewhere, other_scheme, other_service
  for _, s in ipairs(sockets) do
    if s.port == port then
      if speaks(s) ~= scheme then
        other_scheme = speaks(s)
      elseif not offers(s, service) then
        other_service = s
      else
        for _, address in ipairs(s.addresses or { s.address }) do
          if reaches(address, host) then return nil end
          elsewhere = address
        end
      end
    elseif s.port == 0 and speaks(s) == scheme and offers(s, service) then
      return nil -- the kernel will choose, nobody knows what
    end
  end
  if elsewhere then
    local at = elsewhere:find(":", 1, true) and "[" .. elsewhere .. "]" or elsewhere
    return ("port %d is bound on %s, not on %s"):format(port, at, host)
  end
  if other_service then return ("port %d does not serve the %s; %s"):format(port, service, instead(sockets, scheme, service)) end
  if other_scheme then
    return ("port %d speaks %s, and the address says %s; %s"):format(port, other_scheme, scheme, instead(sockets, scheme, service))
  end
  return ("no socket of this server has port %d; %s"):format(port, instead(sockets, scheme, service))
end

return urls

--- `portreeve login-link`: makes a one-time login token and says at which addresses of this machine it can be used.
local cjson = require "cjson"
local onetime = require "portreeve.web.onetime"
local places = require "portreeve.web.places"
local sys = require "portreeve.sys"
local ipairs, pcall, table_concat, tointeger, tonumber, tostring, type =
  ipairs, pcall, table.concat, math.tointeger, tonumber, tostring, type
local _ENV = nil

-- A host without hub logs in through its ui.
local function prefix_of(l)
  local services = l.services
  if type(services) == "table" then
    services = table_concat(services, ",")
  end
  services = "," .. tostring(services) .. ","
  return services:find(",hub,", 1, true) and "/hub" or services:find(",ui,", 1, true) and "/lui" or nil
end

-- The address that reaches a listener from this machine over loopback, or nil.
local function loopback_of(address)
  if address == "0.0.0.0" or address == "*" then
    return "127.0.0.1"
  elseif address == "::" then
    return "[::1]"
  elseif address:match("^127%.") then
    return address
  elseif address == "::1" then
    return "[::1]"
  end
end

-- status: the supervisor's JSON, "" where none answered.
local function addresses(status)
  local ok, value = pcall(cjson.decode, status)
  local out = {}
  for _, l in ipairs(ok and type(value) == "table" and type(value.listeners) == "table" and value.listeners or {}) do
    local prefix, host = prefix_of(l), loopback_of(tostring(l.address))
    local port = tointeger(tonumber(l.port))
    local behind_device = l.external_tls or (l.proxy or "off") ~= "off" -- it takes that device's calls only
    if prefix and host and port and port > 0 and not behind_device then
      out[#out + 1] = ("%s://%s:%d%s"):format(l.scheme == "https" and "https" or "http", host, port, prefix)
    end
  end
  return out
end

local function text(state, status)
  local found = addresses(status)
  if #found == 0 then
    return nil, status == "" and "portreeve does not run with this state folder (give the right one with --state DIR)"
      or "no listener carries hub or ui on a loopback address: add one to listeners.ini, for example\n"
        .. "  emergency.Port=8099\n  emergency.Address=127.0.0.1\n  emergency.Services=hub\nand run `portreeve reload`"
  end
  local accounts = places.system(state)
  local count, why = accounts:count()
  accounts.db:close()
  if not count then
    return nil, why
  end
  local token, fault = onetime.login_token(places.keys(state))
  if not token then
    return nil, fault
  end
  local lines = {}
  for i, base in ipairs(found) do
    lines[i] = base .. "/once?token=" .. token
  end
  sys.log("notice", "hub", "a one-time login link was made")
  return table_concat(lines, "\n") .. "\n", count == 0 and "leads to making the first administrator account" or "logs in to an account"
end

return text

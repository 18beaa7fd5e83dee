-- Certificates that callers show: what listeners.ini says of them (ClientCertificate, ClientCA), and what the plan gets of it. Pure.
local report = require "portreeve.report"
local schema = require "portreeve.schema"
local ipairs = ipairs
local _ENV = nil

local clientcert = {}
local at = report.at

-- Does a line's socket end TLS itself? What tomcat.ini has is known with the plan only (portreeve.review).
local function ends_tls(line)
  return line.name == "http" or (not schema.builtin[line.name] and line.InitTLS.value == "On")
end

local function asks(line)
  return line.ClientCertificate.value ~= "Off"
end

-- Entries of a socket that has no TLS of ours. What a row has from its listener is no fault, unless somebody counts on it.
local function without_tls(line, l, ctx)
  local elsewhere = false
  for _, other in ipairs(line == l and l.sockets or {}) do
    elsewhere = elsewhere or ends_tls(other)
  end
  for _, entry in ipairs(elsewhere and {} or { "ClientCertificate", "ClientCA" }) do
    local e = line.given[entry] and line[entry]
    if e and e.value ~= "Off" then
      local what = "callers show certificates within TLS of our own, which this socket has not: write %s.InitTLS=On, or leave the entry out"
      if schema.builtin[l.name] then what = "listener %s has no TLS, in which callers could show certificates: leave the entry out" end
      ctx.report.error(at(e, nil, e.text), what:format(line.name))
      return
    end
  end
  if line.ClientCertificate.value == "Require" and not line.removed then
    local what = "%s.ClientCertificate=Require does not hold here: this socket has no TLS of ours (%s.InitTLS=%s), so nobody shows one"
    ctx.report.warn(at(line.Port or line.first, nil, line.Port and line.Port.text), what:format(l.name, line.name, line.InitTLS.value))
  end
end

-- One socket line of listener l, when l.sockets stands.
function clientcert.check(line, l, ctx)
  if line.removed or not (line.Port or schema.builtin[l.name]) then return end
  local rule, ca = line.ClientCertificate, line.ClientCA
  if not ends_tls(line) then
    without_tls(line, l, ctx)
  elseif asks(line) and not ca then
    local what = "which certificates are good? add %s.ClientCA=FILE, with the CAs they come from (PEM)"
    ctx.report.error(at(rule, nil, rule.text), what:format(line.name))
  elseif ca and line.given.ClientCA and not asks(line) then
    ctx.report.warn(at(ca, nil, ca.value), ("nobody is asked for a certificate: add %s.ClientCertificate=Ask or Require"):format(line.name))
  elseif rule.value == "Ask" and line.ProxyInside and line.ProxyInside.value == "On" then
    local what = "with %s.ProxyInside the certificate is the device's, and no policy is told of it: write Require, or leave the entry out"
    ctx.report.error(at(rule, nil, rule.text), what:format(line.name))
  end
end

-- What the plan has of it, for a socket that ends TLS: two fields, nil where nobody is asked.
function clientcert.fields(line)
  if not line or not asks(line) or not line.ClientCA then return nil, nil end
  return line.ClientCertificate.value:lower(), line.ClientCA.value
end

-- The files that the plan may need, now or when an address appears.
function clientcert.files(rules)
  local out, seen = {}, {}
  for _, l in ipairs(rules.listeners) do
    for _, line in ipairs(l.sockets) do
      local _, file = clientcert.fields(line)
      if file and ends_tls(line) and not line.removed and not seen[file] then
        seen[file] = true
        out[#out + 1] = file
      end
    end
  end
  return out
end

return clientcert

-- What only rules and finished plan together can tell: review(rules, plan) -> { errors = { text, … }, warnings = { text, … } }.
local report = require "portreeve.report"
local urls = require "portreeve.urls"
local ipairs = ipairs
local _ENV = nil

-- Addresses that are given out, by the component that must answer them, where it is installed here (M33–M40).
local given_out = { { file = "lui", entry = "UrlForRecipients", service = "tracker" } }

local function addresses(rules, plan, found)
  for _, one in ipairs(given_out) do
    local e = rules[one.file][one.entry]
    local why = e and e.file ~= "" and rules.components[one.service] and urls.unbound(e.value, plan, one.service)
    if why then
      found.warn(report.at(e, nil, e.value), why .. ": links with it find nobody, unless a firewall or a device in front leads here")
    end
  end
end

-- The address of the socket (of one of those that are alike) that meets the other, or nil.
local function meets(socket, bind)
  local any = { ["0.0.0.0"] = true, ["::"] = true, ["*"] = true }
  for _, address in ipairs(socket.addresses or { socket.address }) do
    if any[bind] or any[address] or address == bind then return address end
  end
  return nil
end

-- The ui's own database wants its port for itself (M25, M58).
local function database(rules, plan, found)
  local db = rules.database
  for _, s in ipairs(db and plan.sockets or {}) do
    local address = s.port == db.port.value and meets(s, db.bind or "*")
    if address then
      local at = address:find(":", 1, true) and "[" .. address .. "]" or address
      local what = "port %d is the database's and that of listener %s on %s (%s%s): give one of them another"
      local place = s.because.file == "" and "built-in default" or s.because.file .. ":" .. s.because.line
      found.error(report.at(db.port, nil, "" .. db.port.value), what:format(s.port, s.name, at, place, s.because.entry ~= "" and " " ..
        s.because.entry or ""))
      return
    end
  end
end

-- What is written of callers' certificates is in force: which sockets of tomcat.ini end TLS only the plan knows, and a bind.lua of
-- somebody's own may know nothing of the entries.
local function client_certificates(rules, plan, found)
  local https, asking = {}, {}
  for _, s in ipairs(plan.sockets) do
    https[s.name] = https[s.name] or s.scheme == "https"
    asking[s.name] = asking[s.name] or s.client ~= nil
  end
  for _, l in ipairs(rules.listeners) do
    local e = l.given.ClientCertificate and l.ClientCertificate
    if e and e.value ~= "Off" and l.name == "http" and not https.http then
      found.error(report.at(e, nil, e.text), "no socket of tomcat.ini speaks HTTPS (SecureServer): nobody can show a certificate")
    elseif e and e.value ~= "Off" and https[l.name] and not asking[l.name] then
      found.warn(report.at(e, nil, e.text), "policies/bind.lua does not pass it on (client, client_ca): nobody is asked for a certificate")
    end
  end
end

return function(rules, plan)
  local found = report.new()
  addresses(rules, plan, found)
  database(rules, plan, found)
  client_certificates(rules, plan, found)
  return { errors = found.errors, warnings = found.warnings }
end

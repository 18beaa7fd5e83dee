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

local function meets(socket, bind)
  local any = { ["0.0.0.0"] = true, ["::"] = true, ["*"] = true }
  if any[bind] or any[socket.address] then return true end
  return socket.address == bind
end

-- The ui's own database wants its port for itself (M25, M58).
local function database(rules, plan, found)
  local db = rules.database
  for _, s in ipairs(db and plan.sockets or {}) do
    if s.port == db.port.value and meets(s, db.bind or "*") then
      local at = s.address:find(":", 1, true) and "[" .. s.address .. "]" or s.address
      local what = "port %d is the database's and that of listener %s on %s (%s%s): give one of them another"
      local place = s.because.file == "" and "built-in default" or s.because.file .. ":" .. s.because.line
      found.error(report.at(db.port, nil, "" .. db.port.value), what:format(s.port, s.name, at, place, s.because.entry ~= "" and " " ..
        s.because.entry or ""))
      return
    end
  end
end

return function(rules, plan)
  local found = report.new()
  addresses(rules, plan, found)
  database(rules, plan, found)
  return { errors = found.errors, warnings = found.warnings }
end

--- Would a change of listeners shut its own user out? Pure: what the form asks for, the request -> sentences that say exactly what will
-- happen; none where the hub stays where this user found it.
--
--   dangers(form, req) -> { "The listener … carries this very page …", … }
-- form: what listener_form.read gave; req: listener, socket_address, local_port of the socket that this user's request came in by.
local kinds = require "portreeve.kinds"
local listening = require "portreeve.hub.listening"
local schema = require "portreeve.schema"
local ipairs, pairs, tonumber, tostring, type = ipairs, pairs, tonumber, tostring, type
local spec = listening.spec
local _ENV = nil

local function place(address, port)
  return (address:find(":", 1, true) and "[%s]:%d" or "%s:%d"):format(address, port)
end

local function carries_hub(services)
  return ("," .. tostring(services or ""):gsub("%s", "") .. ","):find(",hub,", 1, true) ~= nil
end

local function in_list(list, address, port, default)
  for _, item in ipairs(list) do
    if item.address == address and (item.port or default) == port then
      return true
    end
  end
  return false
end

-- Is a socket on this address and port still asked for by the row? Where that cannot be told (an interface's name), it is not.
local function still_bound(row, address, port, names)
  local list = kinds[spec.Address.kind](row.say.Address, spec.Address, false, names)
  local default = kinds[spec.Port.kind](row.say.Port, spec.Port, false, names)
  local wildcard = address == "0.0.0.0" and 4 or address == "::" and 6
  if type(default) == "table" then -- ADDRESS:PORT in the port field (Q8)
    return in_list(default, address, port)
  elseif not list then
    return false
  elseif list.star or list.family then
    return default == port and (list.star and wildcard ~= false or wildcard == list.family)
  end
  return in_list(list, address, port, default)
end

local function admits(say)
  local list = type((kinds.list(say.List))) == "table" and say.List or ("lists/%s.list"):format(say.List)
  return (say.Restriction == "Grant" and "only the addresses of %s come in" or "the addresses of %s stay out"):format(list)
end

-- Entries of the groups that decide who comes in, beside those that have sentences of their own.
local function other_gates(row, changed, say)
  for entry in pairs(changed) do
    local s = schema.of_listener(entry)
    if s and (s.group == "who" or s.group == "proxy") and entry ~= "Restriction" and entry ~= "List"
      and row.say[entry] ~= listening.default_text(entry) then
      say(("From then on %s=%s decides who comes in; whether you are among them is not known here."):format(entry, row.say[entry]))
    end
  end
  if changed.Transport and row.say.Transport == "UDP" then
    say "It becomes a UDP socket, so these pages no longer come that way."
  end
end

local FEW = 10 -- requests at once: a page of the hub with what belongs to it takes three

local function few_at_once(limits, changed, say)
  for entry in pairs(changed) do
    local s = schema.of_listener(entry)
    local rate = s and s.kind == "rate" and kinds.rate(limits.say[entry]) or { 0 }
    if rate[1] > 0 and rate[1] < FEW then
      say(("It takes only %d at once from then on (%s): a page takes about three, so your next one may be refused."):format(rate[1], entry))
    end
  end
end

-- What happens to the socket that this very page came by.
local function of_carrier(row, at, out)
  local changed = row.changed or {}
  local function say(...)
    out[#out + 1] = ("The socket %s (%s) carries this very page. "):format(at, row.name) .. (...)
  end
  if row.removed then
    say "Its listener is removed, so it is closed: this answer is the last one to come that way."
    return
  end
  if changed.InitTLS then
    say(("It goes over from %s to %s, so the address you use now stops working."):format(
      row.was.InitTLS == "On" and "https" or row.was.InitTLS == "Ext" and "TLS in front" or "http",
      row.say.InitTLS == "On" and "https" or row.say.InitTLS == "Ext" and "TLS in front" or "http"))
  end
  if changed.Services and not carries_hub(row.say.Services) then
    say("It no longer carries the hub, only " .. row.say.Services:gsub(",", ", ") .. ".")
  end
  if (changed.Restriction or changed.List) and row.say.Restriction ~= "None" then
    say("From then on " .. admits(row.say) .. "; whether you are among them is not known here.")
  end
  other_gates(row, changed, say)
  local limits = row.parent or row -- they count over all sockets of a listener
  few_at_once(limits, limits.changed or {}, say)
  for _, entry in ipairs { "MaxConnections", "MaxPerAddress" } do
    local most = (limits.changed or {})[entry] and tonumber(limits.say[entry]) or 0
    if most > 0 and most <= row.active then
      say(("It takes %d connections at most, and %d are open now: your next one may be refused."):format(most, row.active))
    end
  end
end

-- Sockets with the hub once the change is done, as far as listeners.ini decides.
local function hub_left(form)
  local left = 0
  for _, row in ipairs(form.rows) do
    if not row.removed and (row.changed or {}).Services then
      left = left + (carries_hub(row.say.Services) and 1 or 0)
    elseif not row.removed then
      for _, s in ipairs(row.sockets) do
        left = left + (carries_hub(s.services) and 1 or 0)
      end
    end
  end
  for _, row in ipairs(form.added) do
    left = left + (row.adds and carries_hub(row.say.Services) and 1 or 0)
  end
  return left
end

local function carries(row, req)
  for _, s in ipairs(row.sockets) do
    if s.address == req.socket_address and tonumber(s.port) == req.local_port then
      return true
    end
  end
  return false
end

local function dangers(form, req)
  local out = {}
  for _, row in ipairs(form.rows) do
    if row.listener == req.listener and carries(row, req) then
      local at = place(req.socket_address, req.local_port)
      of_carrier(row, at, out)
      local changed = row.changed or {}
      if not row.removed and (changed.Port or changed.Address)
        and not still_bound(row, req.socket_address, req.local_port, form.rows.names) then
        out[#out + 1] = ("The socket %s (%s) carries this very page. It is closed: this answer is the last one to come that way."):format(
          at, row.name)
      end
    end
  end
  if hub_left(form) == 0 then
    out[#out + 1] = "After this no socket serves the hub: nobody reaches these pages any more. Only on the server itself can it be brought "
      .. "back, by a listener with the service hub in listeners.ini and `portreeve reload`."
  end
  return out
end

-- The sockets once the change is done, as far as listeners.ini decides: for addresses that people were given (urlcheck.lost).
local function after(form)
  local out = {}
  local function expect(row)
    local list = kinds[spec.Address.kind](row.say.Address, spec.Address, false, form.rows.names)
    local port = kinds[spec.Port.kind](row.say.Port, spec.Port, false, form.rows.names)
    local function add(address, at)
      if at ~= 0 then -- a free port: any but those that people were given
        out[#out + 1] = { address = address, port = at, scheme = row.say.InitTLS == "On" and "https" or "http",
          external_tls = row.say.InitTLS == "Ext", services = row.say.Services }
      end
    end
    local star = type(list) == "table" and (list.star or list.family)
    for _, item in ipairs(type(port) == "table" and port or not star and list or {}) do
      add(item.address or "0.0.0.0", item.port or port)
    end
    if star and type(port) == "number" then
      add("0.0.0.0", port)
      add("::", port)
    end
  end
  for _, row in ipairs(form.rows) do
    local changed = row.changed or {}
    if changed.Port or changed.Address or changed.InitTLS or changed.Services then
      expect(row)
    elseif not row.removed then
      for _, s in ipairs(row.sockets) do
        out[#out + 1] = { address = s.address, port = tonumber(s.port), scheme = s.scheme, external_tls = s.external_tls,
          services = s.services }
      end
    end
  end
  for _, row in ipairs(form.added) do
    if row.adds then
      expect(row)
    end
  end
  return out
end

return { dangers = dangers, after = after, place = place, carries_hub = carries_hub }

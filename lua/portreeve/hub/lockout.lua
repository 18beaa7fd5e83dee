--- Would a change of listeners shut its own user out? Pure: what the form asks for, the request, the engine's status -> sentences that say
-- exactly what will happen; none where the hub stays where this user found it.
--
--   dangers(form, req, status) -> { "The listener … carries this very page …", … }
-- form: what listener_form.read gave; req: listener, socket_address, local_port of the socket that this user's request came in by.
local kinds = require "portreeve.kinds"
local listening = require "portreeve.hub.listening"
local ipairs, tonumber, tostring = ipairs, tonumber, tostring
local spec = listening.spec
local _ENV = nil

local function place(address, port)
  return (address:find(":", 1, true) and "[%s]:%d" or "%s:%d"):format(address, port)
end

local function carries_hub(services)
  return ("," .. tostring(services or ""):gsub("%s", "") .. ","):find(",hub,", 1, true) ~= nil
end

-- Is a socket on this address and port still asked for by the row?
local function still_bound(row, address, port)
  local list = kinds.bind(row.say.Address, spec.Address)
  local default = tonumber(row.say.Port)
  local wildcard = address == "0.0.0.0" and 4 or address == "::" and 6
  if not list then
    return false
  elseif list.star or list.family then
    return default == port and (list.star and wildcard ~= false or wildcard == list.family)
  end
  for _, item in ipairs(list) do
    if item.address == address and (item.port or default) == port then
      return true
    end
  end
  return false
end

local function admits(say)
  if say.Restriction == "None" then
    return "everybody comes in"
  end
  return (say.Restriction == "Grant" and "only the addresses of lists/%s.list come in" or "the addresses of lists/%s.list stay out"):format(
    say.List)
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
  if changed.Restriction or changed.List then
    say("From then on " .. admits(row.say) .. "; whether you are among them is not known here.")
  end
  for _, entry in ipairs { "MaxConnections", "MaxPerAddress" } do
    local most = changed[entry] and tonumber(row.say[entry]) or 0
    if most > 0 and most <= row.active then
      say(("It takes %d connections at most, and %d are open now: your next one may be refused."):format(most, row.active))
    end
  end
end

-- Sockets with the hub once the change is done, as far as listeners.ini decides.
local function hub_left(form, status)
  local rows, left = {}, 0
  for _, row in ipairs(form.rows) do
    rows[row.name] = row
    if not row.removed and (row.changed or {}).Services and carries_hub(row.say.Services) then
      left = left + 1
    end
  end
  for _, s in ipairs(status.listeners or {}) do
    local row = rows[s.name] or {}
    if carries_hub(s.services) and not row.removed and not (row.changed or {}).Services then
      left = left + 1
    end
  end
  for _, row in ipairs(form.added) do
    if row.adds and carries_hub(row.say.Services) then
      left = left + 1
    end
  end
  return left
end

local function dangers(form, req, status)
  local out = {}
  for _, row in ipairs(form.rows) do
    if row.name == req.listener then
      local at = place(req.socket_address or "?", req.local_port or 0)
      of_carrier(row, at, out)
      local changed = row.changed or {}
      if not row.removed and (changed.Port or changed.Address) and not still_bound(row, req.socket_address, req.local_port) then
        out[#out + 1] = ("The socket %s (%s) carries this very page. It is closed: this answer is the last one to come that way."):format(
          at, row.name)
      end
    end
  end
  if hub_left(form, status) == 0 then
    out[#out + 1] = "After this no socket serves the hub: nobody reaches these pages any more. Only on the server itself can it be brought "
      .. "back, by a listener with the service hub in listeners.ini and `portreeve reload`."
  end
  return out
end

return { dangers = dangers, place = place, carries_hub = carries_hub }

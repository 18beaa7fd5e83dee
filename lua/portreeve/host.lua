-- The machine's addresses, as facts:
-- host = { ipv6 = bool, addresses = { { ip=, interface=, scope=, tentative=, duplicate= }, … }, interfaces = { "lo", "eth0", … } }.
local near = require "portreeve.near"
local ipairs, pairs, setmetatable, sort = ipairs, pairs, setmetatable, table.sort
local concat, byte = table.concat, string.byte
local _ENV = nil

local host = {}

local function is_link_local(ip)
  return byte(ip) == 0x66 and ip:find("^fe[89ab]%x:") ~= nil -- most addresses do not even begin so
end

local function family_of(ip)
  return ip:find(":", 1, true) and 6 or 4
end
host.family_of = family_of

-- ip -> the entries of the facts that have it. A plan asks for thousands of addresses of
-- one host, so the table is kept with the facts.
local tables, none = setmetatable({}, { __mode = "k" }), {}
local function by_ip(facts)
  local at = tables[facts.addresses]
  if at then return at end
  at = {}
  for _, a in ipairs(facts.addresses) do
    local owners = at[a.ip] or {}
    owners[#owners + 1] = a
    at[a.ip] = owners
  end
  tables[facts.addresses] = at
  return at
end

-- Names of all interfaces, those without an address too.
local function interfaces(facts)
  if facts.interfaces then return facts.interfaces end
  local out, seen = {}, {}
  for _, a in ipairs(facts.addresses) do
    if not seen[a.interface] then out[#out + 1] = a.interface end
    seen[a.interface] = true
  end
  return out
end

local function holds(list, name)
  for _, known in ipairs(list) do
    if known == name then return true end
  end
  return false
end

-- Can any machine bind it, whatever its interfaces have? 127.0.0.0/8 belongs to lo as a whole.
local function everywhere(ip)
  return ip:find("^127%.") ~= nil or ip == "0.0.0.0" or ip == "::"
end

-- The addresses that can be bound as they are written: { [ip] = true }. So it is with most, and nothing more need be asked about them.
local plains = setmetatable({}, { __mode = "k" })
function host.plain(facts)
  local set = plains[facts.addresses]
  if set then return set end
  set = {}
  for _, a in ipairs(facts.addresses) do
    set[a.ip] = set[a.ip] == nil and not a.tentative and not a.duplicate and not is_link_local(a.ip)
  end
  plains[facts.addresses] = set
  return set
end

-- Is there a list of addresses, and is each of them such a one?
function host.all_plain(facts, addresses)
  local set = host.plain(facts)
  for _, ip in ipairs(addresses or none) do
    if not set[ip] then return false end
  end
  return addresses ~= nil
end

-- The address as it can be bound: a link-local one gets the interface that owns it, as fe80::1%eth0 (M20).
-- nil and the reason where that is not known. Third result: "tentative", "duplicate" or "missing"; a missing address is not refused
-- here, since the kernel may know it otherwise (routes of type local).
function host.locate(facts, ip)
  local bare, owners = ip:match("^[^%%]*"), {}
  local tentative, duplicate
  for _, a in ipairs(by_ip(facts)[bare] or none) do
    if bare == ip or ip == a.ip .. "%" .. a.interface then
      owners[#owners + 1] = a.interface
      tentative, duplicate = a.tentative, a.duplicate
    end
  end
  if tentative and #owners == 1 then
    return nil, ("%s is still being checked for duplicates by the kernel (tentative)"):format(ip), "tentative"
  end
  if duplicate and #owners == 1 then
    return nil, ("%s: another machine has this address too, so the kernel does not let it be used (DAD failed)"):format(ip), "duplicate"
  end
  local missing = #owners == 0 and not everywhere(ip) and "missing" or nil
  if bare ~= ip then
    local zone = ip:match("%%(.*)$")
    if missing and not holds(interfaces(facts), zone) then return nil, ("%s: there is no interface %s"):format(ip, zone), missing end
    return ip, nil, missing
  end
  if not is_link_local(ip) then return ip, nil, missing end
  if #owners == 1 then return ip .. "%" .. owners[1] end
  if #owners == 0 then return nil, ("%s: address not on this machine; see `ip address`"):format(ip), missing end
  return nil, ("%s is on the interfaces %s: say which, as in [%s%%%s]"):format(ip, concat(owners, " and "), ip, owners[1])
end

local why_not = {
  tentative = "is still being checked for duplicates", duplicate = "is used by another machine too (DAD failed)",
  missing = "is not on this machine now",
}

-- One address with what is to happen where it is not there (WhenMissing): { address =, waiting =, why =, note = }. A tentative one is on
-- this machine and about to be usable, so it is waited for in any case.
local function place_of(facts, ip, when)
  local address, why, state = host.locate(facts, ip)
  local place = { address = address or ip, why = why }
  if state == "tentative" and when ~= "Freebind" then when = "Wait" end
  if not state or (when ~= "Wait" and when ~= "Freebind") then return place end
  local zone = ip:match("%%(.*)$")
  if is_link_local(ip) and not zone then
    local owner = by_ip(facts)[ip]
    if not owner then
      place.why = ("%s: a link-local address that may be missing is written with its interface, as in [%s%%eth0]"):format(ip, ip)
      return place
    end
    place.address = ip .. "%" .. owner[1].interface
  end
  local what = why_not[state]
  if when == "Wait" then
    place.why, place.waiting, place.note = nil, true, ("%s %s: its socket is opened as soon as the address can be used"):format(ip, what)
  elseif zone and not holds(interfaces(facts), zone) then
    place.why = ("%s: there is no interface %s, and Freebind needs it; WhenMissing=Wait does not"):format(ip, zone)
  else
    place.why, place.note = nil, ("%s %s: it is bound all the same (WhenMissing=Freebind)"):format(ip, what)
  end
  return place
end

-- All addresses of an interface, both families; those that are missing as messages.
local function interface_places(out, facts, name, when)
  local found = false
  for _, a in ipairs(facts.addresses) do
    if a.interface == name then
      found = true
      local ip = is_link_local(a.ip) and a.ip .. "%" .. name or a.ip
      local state = a.tentative and "tentative" or a.duplicate and "duplicate"
      if not state or when == "Wait" or when == "Freebind" then
        out[#out + 1] = place_of(facts, ip, when)
      else
        out[#out + 1] = { note = ("%s on %s %s and is left out until it can be used"):format(a.ip, name, why_not[state]) }
      end
    end
  end
  if not found then
    local here = holds(interfaces(facts), name) and "has no address" or "is not there"
    local note, why = "the interface %s %s now: its sockets are opened as its addresses appear", nil
    if when ~= "Wait" then note, why = nil, "the interface %s %s now: WhenMissing=Wait in listeners.ini would wait for it" end
    out[#out + 1] = { note = note and note:format(name, here), why = why and why:format(name, here) }
  end
end

local function unknown(facts, name, groups)
  local names, known = {}, { "OnlyIPV4Addresses", "OnlyIPV6Addresses" }
  for group in pairs(groups) do
    names[#names + 1] = group
  end
  sort(names)
  for _, list in ipairs { interfaces(facts), names } do
    for _, n in ipairs(list) do
      known[#known + 1] = n
    end
  end
  local found = near.best(name, known)
  local said = names[1] and " (" .. concat(names, ", ") .. ")" or ""
  return ("%s is neither an interface of this machine (%s) nor a group of portreeve.ini%s; host names are not looked up%s"):format(
    name, concat(interfaces(facts), ", "), said, found and (": did you mean %s?"):format(found) or "")
end

-- What an item of an address list stands for on this machine: { { address =, waiting = bool, why = reason it cannot be bound, note = what
-- should be known }, … }; without address it is a message only. The item is an address, an interface, or a group (Group-NAME).
function host.places(facts, item, when, groups)
  if item.address then return { place_of(facts, item.address, when) } end
  local out, group = {}, groups[item.name]
  if not group and not holds(interfaces(facts), item.name) then
    local why = unknown(facts, item.name, groups)
    return { when == "Wait" and { note = why .. "; it is waited for" } or { why = why } }
  end
  if group and holds(interfaces(facts), item.name) then
    out[1] = { note = ("%s is an interface and a group (%s:%d): the group is meant"):format(item.name, group.file, group.line) }
  end
  for _, member in ipairs(group and group.value or { item }) do
    if member.address then
      out[#out + 1] = place_of(facts, member.address, when)
    elseif group and groups[member.name] and not holds(interfaces(facts), member.name) then
      out[#out + 1] = { why = ("group %s holds the group %s: a group holds interfaces and addresses"):format(item.name, member.name) }
    elseif when ~= "Wait" and not holds(interfaces(facts), member.name) then
      out[#out + 1] = { why = ("group %s (%s:%d): %s"):format(item.name, group.file, group.line, unknown(facts, member.name, groups)) }
    else
      interface_places(out, facts, member.name, when)
    end
  end
  return out
end

-- Every address (of one family, where given), in the kernel's order, each once: { { address =, unusable = why not now, or nil }, … }.
function host.addresses(facts, family)
  local out, seen = {}, {}
  for _, a in ipairs(facts.addresses) do
    local ip = is_link_local(a.ip) and a.ip .. "%" .. a.interface or a.ip
    if (not family or family_of(a.ip) == family) and not seen[ip] then
      seen[ip] = true
      local state = a.tentative and "tentative" or a.duplicate and "duplicate"
      out[#out + 1] = { address = ip, unusable = state and why_not[state] }
    end
  end
  return out
end

return host

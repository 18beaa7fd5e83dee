-- The machine's addresses, as facts: host = { ipv6 = bool, addresses = { { ip=, interface=, scope=, tentative= }, … } }.
local ipairs, setmetatable = ipairs, setmetatable
local concat = table.concat
local _ENV = nil

local host = {}

local function is_link_local(ip)
  return ip:find("^fe[89ab]%x:") ~= nil
end

local function family_of(ip)
  return ip:find(":", 1, true) and 6 or 4
end
host.family_of = family_of

-- ip -> the entries of the facts that have it. A plan asks for thousands of addresses of one host, so the table is kept with the facts.
local tables, none = setmetatable({}, { __mode = "k" }), {}
local function by_ip(facts)
  local at = tables[facts.addresses]
  if at then return at end
  at = {}
  for _, a in ipairs(facts.addresses) do
    at[a.ip] = at[a.ip] or {}
    at[a.ip][#at[a.ip] + 1] = a
  end
  tables[facts.addresses] = at
  return at
end

-- The address as it can be bound: a link-local one gets the interface that owns it, as fe80::1%eth0 (M20).
-- nil and the reason where that is not known.
function host.locate(facts, ip)
  local bare, owners = ip:match("^[^%%]*"), {}
  local tentative
  for _, a in ipairs(by_ip(facts)[bare] or none) do
    if bare == ip or ip == a.ip .. "%" .. a.interface then
      owners[#owners + 1] = a.interface
      tentative = a.tentative
    end
  end
  if tentative and #owners == 1 then
    return nil, ("%s is still being checked for duplicates by the kernel (tentative): try again in a second"):format(ip)
  end
  if bare ~= ip or not is_link_local(ip) then return ip end
  if #owners == 1 then return ip .. "%" .. owners[1] end
  if #owners == 0 then return nil, ("%s: address not on this machine; see `ip address`"):format(ip) end
  return nil, ("%s is on the interfaces %s: say which, as in [%s%%%s]"):format(ip, concat(owners, " and "), ip, owners[1])
end

-- Every usable address (of one family, where given), in the kernel's order, each once: { { address =, tentative = }, … }.
function host.addresses(facts, family)
  local out, seen = {}, {}
  for _, a in ipairs(facts.addresses) do
    local ip = is_link_local(a.ip) and a.ip .. "%" .. a.interface or a.ip
    if (not family or family_of(a.ip) == family) and not seen[ip] then
      seen[ip] = true
      out[#out + 1] = { address = ip, tentative = a.tentative }
    end
  end
  return out
end

return host

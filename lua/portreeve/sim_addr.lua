-- portreeve.addr in plain Lua, for specs and simulation only: the server uses src/base/addr.c.
--   parse(text) -> canonical text | nil, why      hostport(text, allow0) -> canonical text, port (nil = none written) | nil, why
local tonumber, tostring = tonumber, tostring
local concat = table.concat
local _ENV = nil

local addr = {}

local function parse_v4(s)
  local a, b, c, d = s:match("^(%d+)%.(%d+)%.(%d+)%.(%d+)$")
  if not a then return nil, ("%q is not an IPv4 or IPv6 address"):format(s) end
  local out = { a, b, c, d }
  for i = 1, 4 do
    if #out[i] > 1 and out[i]:sub(1, 1) == "0" then return nil, ("%q: leading zeros are not allowed in an IPv4 address"):format(s) end
    if #out[i] > 3 or tonumber(out[i]) > 255 then return nil, ("%q: each number of an IPv4 address is at most 255"):format(s) end
  end
  return concat(out, ".")
end

-- "1:2:…" -> list of 16 bit groups, or nil. An IPv4 tail counts as two groups.
local function groups_of(s)
  local out = {}
  if s == "" then return out end
  for part in (s .. ":"):gmatch("(.-):") do
    if part:find(".", 1, true) then
      local v4 = parse_v4(part)
      if not v4 then return nil end
      local a, b, c, d = v4:match("(%d+)%.(%d+)%.(%d+)%.(%d+)")
      out[#out + 1] = tonumber(a) * 256 + tonumber(b)
      out[#out + 1] = tonumber(c) * 256 + tonumber(d)
    elseif part:find("^%x%x?%x?%x?$") then
      out[#out + 1] = tonumber(part, 16)
    else
      return nil
    end
  end
  return out
end

local function format_v6(g)
  local best, best_n, i = 0, 1, 1
  while i <= 8 do
    local n = 0
    while i + n <= 8 and g[i + n] == 0 do n = n + 1 end
    if n > best_n then best, best_n = i, n end
    i = i + (n > 0 and n or 1)
  end
  local parts = {}
  for k = 1, 8 do
    parts[k] = ("%x"):format(g[k])
  end
  if best == 0 then return concat(parts, ":") end
  return concat(parts, ":", 1, best - 1) .. "::" .. concat(parts, ":", best + best_n, 8)
end

local function parse_v6(s)
  local bare, zone = s:match("^([^%%]*)%%?(.*)$")
  local wrong = ("%q is not an IPv6 address"):format(s)
  local left, right = bare:match("^(.-)::(.*)$")
  local g
  if left then
    if right:find("::", 1, true) then return nil, wrong end
    local a, b = groups_of(left), groups_of(right)
    if not a or not b or #a + #b > 7 then return nil, wrong end
    g = a
    local fill = 8 - #a - #b
    for _ = 1, fill do g[#g + 1] = 0 end
    for k = 1, #b do g[#g + 1] = b[k] end
  else
    g = groups_of(bare)
    if not g or #g ~= 8 then return nil, wrong end
  end
  local mapped = g[6] == 0xffff
  for k = 1, 5 do
    mapped = mapped and g[k] == 0
  end
  if mapped then return ("%d.%d.%d.%d"):format(g[7] // 256, g[7] % 256, g[8] // 256, g[8] % 256) end
  local text = format_v6(g)
  if not s:find("%", 1, true) then return text end
  if g[1] & 0xffc0 ~= 0xfe80 then return nil, ("%q: only a link-local address (fe80::/10) can have a %%zone"):format(s) end
  if zone == "" or #zone > 15 then return nil, ("%q: write an interface name or index behind %%"):format(s) end
  return text .. "%" .. zone
end

function addr.parse(s)
  if s == "" then return nil, "an IP address is missing" end
  if s:sub(1, 1) == "[" then return nil, ("%q: write this address without brackets and without a port"):format(s) end
  if s:find(":", 1, true) then return parse_v6(s) end
  return parse_v4(s)
end

local function port_of(text, allow0)
  local digits = text:match("^:(.*)$")
  if not digits then return nil, ("%q follows the address: only \":port\" may"):format(text) end
  if digits == "" then return nil, "the port behind \":\" is missing" end
  if not digits:find("^%d+$") then return nil, ("port %q is not a number"):format(digits) end
  local port = tonumber(digits)
  if tostring(port) ~= digits then return nil, ("port %q has leading zeros"):format(digits) end
  if port > 65535 or (port == 0 and not allow0) then
    return nil, ("port %s is out of range: write a number from 1 to 65535"):format(digits)
  end
  return port
end

function addr.hostport(s, allow0)
  local host, rest
  if s == "" then return nil, "an address is missing" end
  if s:sub(1, 1) == "[" then
    host, rest = s:match("^%[(.-)%](.*)$")
    if not host then return nil, ("%q: the closing bracket ] is missing"):format(s) end
    if not host:find(":", 1, true) then return nil, ("%q: an IPv4 address is written without brackets"):format(s) end
  else
    if s:find(":.*:") then return nil, ("%q: an IPv6 address is written in brackets, like [::1] or [::1]:8080"):format(s) end
    host, rest = s:match("^([^:]*)(.*)$")
    if host == "" then return nil, ("%q: the address before \":\" is missing"):format(s) end
  end
  local address, why = addr.parse(host)
  if not address then return nil, why end
  if rest == "" then return address end
  local port, bad = port_of(rest, allow0)
  if not port then return nil, bad end
  return address, port
end

function addr.list()
  return nil -- item by item, then: the words for what is wrong are there
end

return addr

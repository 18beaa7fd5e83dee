-- What the value of an entry may be. Each kind is a function (text, spec, from_set, names) -> value[, nil, remark[, port]] |
-- nil, "what is allowed". from_set: the value came by --set; names: the protocol names that ports may have (portreeve.portnames).
-- Texts come with blanks and line ends at their ends; every kind but `text` and `secret` trims them (I8).
local addr = require "portreeve.addr"
local duration = require "portreeve.duration"
local portnames = require "portreeve.portnames"
local ipairs, tostring = ipairs, tostring
local tointeger = math.tointeger
local concat = table.concat
local _ENV = nil

local kinds = {}

local function trim(s)
  if s:find("^%S") and s:find("%S$", -1) then return s end -- most texts: and some are long
  return s:match("^%s*(.*%S)") or ""
end
kinds.trim = trim

-- A decimal number as people write it: no sign but '-', no leading zero, no 0x, nothing behind.
local function integer(s)
  if not s:find("^%-?%d+$") or #s > 16 then return nil end
  local n = tointeger(s)
  if not n or tostring(n) ~= s then return nil end
  return n
end

local function between(text, least, most, what)
  local s = trim(text)
  local n = integer(s)
  if n and n >= least and n <= most then return n end
  if s == "" then return nil, ("the value is missing: write %s, or make the line a comment"):format(what) end
  return nil, ("not %s"):format(what)
end

local PORT = "a port, a whole number from 1 to 65535 or the name of a protocol, like HTTP"

local function port_between(text, least, what, names)
  local found, why = portnames.find(names, trim(text))
  if found or why then return found, why end
  return between(text, least, 65535, what)
end

-- A number or the name of a protocol (Q1). spec.zero: port 0 may be written here; overrides by --set always may ("take a free port").
function kinds.port(text, spec, from_set, names)
  return port_between(text, (spec.zero or from_set) and 0 or 1, PORT, names)
end

-- -1 and 0 switch it off (M64).
function kinds.shutdown_port(text, _, _, names)
  return port_between(text, -1, "a port from 1 to 65535, or -1 for none", names)
end

function kinds.integer(text, spec)
  local s, words = trim(text), spec.words
  if words then
    local lower = s:lower()
    for i, word in ipairs(words) do
      if word == lower then return i - 1 end
    end
    return nil, "not one of " .. concat(words, ", ")
  end
  local unit = spec.unit and " (" .. spec.unit .. ")" or ""
  return between(text, spec.least, spec.most, ("a whole number from %d to %d%s"):format(spec.least, spec.most, unit))
end

-- "100/10s", "5/m": so many in that time; 0 = no limit. The value is { number, milliseconds }.
function kinds.rate(text)
  local s = trim(text)
  if s == "0" then return { 0, 0 } end
  local number, time = s:match("^(%d+)%s*/%s*(%w+)$")
  local n = number and integer(number)
  local ms = time and duration.ms(time:find("^%d") and time or "1" .. time)
  if n and n >= 1 and n <= 1000000 and ms and ms <= 86400000 then return { n, ms } end
  return nil, "not a rate: write how many in what time, like 100/10s or 5/m (1 to 1000000 in at most 24h), or 0 for no limit"
end

-- One word of spec.words, written in any case; the value is the word as spec has it.
function kinds.word(text, spec)
  local lower = trim(text):lower()
  for _, word in ipairs(spec.words) do
    if word:lower() == lower then return word end
  end
  return nil, "not one of " .. concat(spec.words, ", ")
end

function kinds.text(text)
  return text
end
kinds.secret = kinds.text

function kinds.path(text)
  local s = trim(text)
  if s == "" then return nil, "a file name is missing" end
  if s:find("[%z\1-\31]") then return nil, "a file name with a control character" end
  return s
end

-- The name of a certificate, a list, a tracker.
function kinds.name(text)
  local s = trim(text)
  if s:find("^[%w_.-]+$") and #s <= 60 then return s end
  return nil, "not a name: letters, digits, _ - and . only, at most 60"
end

-- The name of an address list, or the list itself: { inline = "10.0.0.0/8, !10.1.0.0/16" }. No list's file can have a name with a dot, a
-- slash or a colon, and no address does without.
function kinds.list(text)
  local s = trim(text)
  if s:find("[.:/!,]") then return { inline = s } end
  local name, why = kinds.name(s)
  return name, why and "neither the name of an address list (letters, digits, _ and -) nor addresses and networks with commas between them"
end

function kinds.label_key(text)
  if text:find("^[%w_]+$") and #text <= 30 then return text end
  return nil, "the name of a label has letters, digits and _ only, at most 30"
end

-- What an operator says of a listener to his own policies.
function kinds.label(text)
  local s = trim(text)
  if s:find("[%z\1-\31\127]") or #s > 120 then return nil, "a label has at most 120 bytes, without control characters" end
  return s
end

-- "host: 2025", "[::1]:SMTP" (E6) -> host without brackets, port text or nil. A bare IPv6 address has no port.
local function split_host(s)
  local host, port = s:match("^%[([^%]]*)%]%s*:%s*(.*)$")
  if host then return host, port end
  host = s:match("^%[([^%]]*)%]$")
  if host then return host end
  if s:find(":.*:") then return s end
  host, port = s:match("^(.-)%s*:%s*(.*)$")
  return host or s, port
end

-- A host name or address, and the port behind it where one is written (fourth result).
function kinds.host(text, spec, from_set, names)
  local s = trim(text)
  if s == "" then return nil, "the value is missing: write a host name or an address, or make the line a comment" end
  if s:find("://", 1, true) then return nil, "a host name or an address is wanted here, without what stands before :// in a URL" end
  local host, port = split_host(s)
  if not host:find("^[%w.:%%_-]+$") or #host > 253 then return nil, "not a host name or address" end
  if host:find(":", 1, true) and not addr.parse(host) then return nil, "not a host name or address" end
  if not port then return host end
  local number, why = kinds.port(port, spec, from_set, names)
  if not number then return nil, "behind the colon: " .. why end
  return host, nil, nil, number
end

function kinds.url(text)
  local s = trim(text)
  local authority = s:match("^https?://([^/]*)") or ""
  local port = authority:match("^%[[^%]]*%]:(.+)$") or authority:match("^[^:%[]*:(.+)$")
  local number = port and integer(port)
  if port and not (number and number >= 1 and number <= 65535) then
    return nil, ("its port %s is not a number from 1 to 65535"):format(port)
  end
  if s:find("^https?://[^%s/?#]+") and not s:find("[%s%c?#]") then return (s:gsub("/+$", "")) end
  return nil, "not the beginning of an http or https address, like https://news.example.org"
end

-- A comma list of words out of spec.words; each once.
function kinds.words(text, spec)
  local out, seen = {}, {}
  for item in (text .. ","):gmatch("(.-),") do
    local word, why = kinds.word(item, spec)
    if not word then return nil, why .. ", separated by commas" end
    if not seen[word] then
      seen[word] = true
      out[#out + 1] = word
    end
  end
  return out
end

function kinds.names(text)
  local out = {}
  for item in (text .. ","):gmatch("(.-),") do
    local s = trim(item)
    if not s:find("^[%w*][%w.*-]*$") then return nil, "not a comma list of host names" end
    out[#out + 1] = s:lower()
  end
  return out
end

-- The name of an interface or a group of them, as it may stand where an address can.
function kinds.is_place_name(s)
  return s:find("^%a[%w_.-]*$") ~= nil and #s <= 15
end

-- "[::1] : HTTP" -> "[::1]:80": blanks round the colon of a port go, a protocol's name becomes its number. nil and why.
local function with_number(s, names)
  local head, port = s:match("^(%[[^%]]*%])%s*:%s*(.-)$")
  if not head then head, port = s:match("^([^:%[%]]-)%s*:%s*([^:]*)$") end
  if not head then return s end
  local number, why = portnames.find(names, port)
  if why then return nil, ("%s: %s"):format(s, why) end
  return head .. ":" .. (number or port)
end

-- [fe80::1%ppp0]:80 where there is no ppp0 (now): the address as it is written, to be looked for by portreeve.host.
local function with_missing_zone(s, allow0)
  local bare, zone, tail = s:match("^%[([^%%%]]*)%%([%w_.-]+)%](.*)$")
  if not bare or #zone > 15 or not zone:find("%D") then return nil end
  local address, port = addr.hostport("[" .. bare .. "]" .. tail, allow0)
  if not address or not address:find("^fe[89ab]%x:") then return nil end
  return address .. "%" .. zone, port
end

local function bare_item(s)
  local inner = s:match("^%[(.*)%]$")
  if inner and not inner:find(":", 1, true) then return nil, s .. ": brackets are for IPv6 addresses" end
  local address, why = addr.parse(inner or s)
  if address then return { address = address } end
  if addr.hostport(s, true) then return nil, s .. ": an address without port is wanted here" end
  return nil, why
end

-- What to write for all addresses, where * is no word or not in its place.
local function all_addresses(spec)
  if spec.kind == "listen" then return "for all addresses write the port alone, without *" end
  return spec.star and "* stands alone: it means all addresses" or "for all addresses leave this entry out: * is not an address"
end

-- One item of an address list: { address = canonical text, port = number or nil }, or { name = interface or group, port = }.
local function list_item(item, spec, from_set, names)
  local trimmed, allow0 = trim(item), from_set or false
  if trimmed == "" then return nil, "an item of the list is empty: remove the comma too many" end
  if trimmed:sub(1, 1) == "*" then return nil, all_addresses(spec) end
  if spec.bare then return bare_item(trimmed) end
  local s, unknown = with_number(trimmed, names)
  if not s then return nil, unknown end
  local name, rest = s:match("^([^:]*)(.*)$")
  if name:lower() == "localhost" then
    return nil, "host names are not looked up here: write 127.0.0.1 or [::1] for localhost"
  end
  if kinds.is_place_name(name) then
    local any, port = addr.hostport("0.0.0.0" .. rest, allow0)
    if not any then return nil, (port:gsub("0%.0%.0%.0", name)) end
    return { name = name, port = port }
  end
  local address, port = addr.hostport(s, allow0)
  if address then return { address = address, port = port } end
  local missing, its_port = with_missing_zone(s, allow0)
  if missing then return { address = missing, port = its_port } end
  return nil, port
end

-- Long lists are read several times at a reload, and by a planner in reserve once before: they are remembered by their text. Nobody changes
-- a list that has been read.
local LONG, MOST_LISTS = 1024, 64
local lists, nlists = {}, 0
local function plain_list(text, from_set)
  if #text < LONG then return addr.list(text, from_set) end
  local key = from_set and text .. " 0" or text
  local list = lists[key]
  if list == nil then
    list = addr.list(text, from_set) or false
    if nlists < MOST_LISTS then lists[key], nlists = list, nlists + 1 end
  end
  return list or nil
end

function kinds.addresses(text, spec, from_set, names)
  local out = not spec.bare and plain_list(text, from_set) -- addresses only, as most lists are
  if out then return out end
  out = {}
  if trim(text) == "" then return nil, "the list is empty: write addresses separated by commas, or make the line a comment" end
  for item, rest in (text .. ","):gmatch("(.-),()") do
    local one, why = list_item(item, spec, from_set, names)
    if not one then
      local last = rest > #text + 1 and out[1] and trim(item) == ""
      return nil, last and why .. ", or, if the next line goes on, put a backslash at the very end, with no blank behind it" or why
    end
    out[#out + 1] = one
  end
  return out
end

-- What a group of portreeve.ini holds: interfaces and addresses, no ports.
function kinds.members(text, spec, from_set, names)
  local list, why = kinds.addresses(text, spec, from_set, names)
  for _, item in ipairs(list or {}) do
    if item.port then return nil, "a group has no ports: write the port where the group is named, as in NAME:8080" end
  end
  return list, why
end

-- Port of a listener: a port, 0 for none (G7), `free` for one that the kernel chooses (the value is 0 too), or ADDRESS:PORT items, which
-- open it there only (Q8).
function kinds.listen(text, spec, from_set, names)
  local s = trim(text)
  if s:lower() == "free" then return 0 end
  if addr.parse(s) and not s:find(":", 1, true) then return nil, ("the port is missing: write %s:8100 for port 8100 there"):format(s) end
  if not s:find("[:%[,]") then return kinds.port(text, spec, from_set, names) end
  for item in s:gmatch("[^,]+") do
    if not item:find("[:%[]") and kinds.port(item, spec, from_set, names) then
      local what = "port %s stands in a list: here is one port alone, or a list of ADDRESS:PORT; a further port is a row, NAME.2.Port"
      return nil, what:format(trim(item))
    end
  end
  local list, why = kinds.addresses(text, spec, from_set, names)
  if not list then return nil, why end
  for _, item in ipairs(list) do
    if not item.port then return nil, ("%s has no port: each item here is written ADDRESS:PORT"):format(item.address or item.name) end
  end
  return list
end

local MOST_BACKENDS = 8 -- PLAN_TO_MOST

local function backend_item(item, names)
  local path = item:match("^unix:%s*(.*)$") or item:match("^/.*$")
  if path then
    if path:find("^/[^%c]+$") and #path < 108 then return "unix:" .. path end
    return nil, ("%s: a unix socket is written unix:/PATH, at most 107 bytes"):format(item)
  end
  local s, unknown = with_number(item, names)
  if not s then return nil, unknown end
  local address, port = addr.hostport(s, false)
  if not address then
    if not s:find("^%[") and s:find("^[^:]*%a[^:]*:") and not s:find(":.*:") then
      return nil, ("%s: host names are not looked up here: write the address of the backend, as in 192.0.2.7:25"):format(item)
    end
    return nil, port
  end
  if not port then return nil, ("%s has no port: a backend is written ADDRESS:PORT"):format(item) end
  if address == "0.0.0.0" or address == "::" then return nil, ("%s: nobody can be called at the address for all"):format(item) end
  return (address:find(":", 1, true) and "[%s]:%d" or "%s:%d"):format(address, port)
end

-- Backend of a tunnel: ADDRESS:PORT, [ADDRESS]:PORT or unix:/PATH, several in the order in which they are tried -> canonical text.
function kinds.backends(text, _, _, names)
  local out, seen = {}, {}
  for item in (text .. ","):gmatch("(.-),") do
    local trimmed = trim(item)
    if trimmed == "" then return nil, "an address is missing: write ADDRESS:PORT, several separated by commas" end
    local one, why = backend_item(trimmed, names)
    if not one then return nil, why end
    if seen[one] then return nil, one .. " is there twice" end
    seen[one] = true
    out[#out + 1] = one
  end
  if #out > MOST_BACKENDS then return nil, ("more than %d addresses of one backend"):format(MOST_BACKENDS) end
  local all = concat(out, ",")
  if #all > 511 then return nil, "longer than 511 bytes" end
  return all
end

-- A host name as TLS callers ask for it, or *. and one: any one label before it.
function kinds.sni(text)
  local s = text:lower():gsub("%.$", "")
  local bare = s:gsub("^%*%.", "")
  if #s < 254 and bare:find("^[%w_-][%w_.-]*$") and not bare:find("..", 1, true) and bare:sub(-1) ~= "." then return s end
  return nil, "not a host name: letters, digits, - and . (or *. and a host name)"
end

local families = { onlyipv4addresses = 4, onlyipv6addresses = 6 }

-- BindAddress: a list, or {family = 4|6} for one of the two words (M8, M9). Third result: a remark.
function kinds.bind(text, spec, from_set, names)
  local s = trim(text)
  local family = families[s:lower()]
  if family then
    local exact = "OnlyIPV" .. family .. "Addresses"
    return { family = family }, nil, s ~= exact and "the word is written " .. exact or nil
  end
  local list = plain_list(s, from_set)
  if list then return list end
  for item in (s .. ","):gmatch("(.-),") do
    if families[trim(item):lower()] then return nil, trim(item) .. " stands alone: it cannot be combined with a list" end
  end
  if spec.star and s == "*" then return { star = true } end
  return kinds.addresses(text, spec, from_set, names)
end

-- SecureServer: true, false or a list of bare addresses.
function kinds.secure_server(text)
  local lower = trim(text):lower()
  if lower == "true" then return true end
  if lower == "false" then return false end
  if lower == "" then return nil, "the value is missing: write true, false or a list of addresses, or make the line a comment" end
  local list, why = kinds.addresses(text, { bare = true })
  if list then return list end
  return nil, "neither true nor false nor a list of addresses without ports (" .. why .. ")"
end

-- Value of Secure-ADDRESS: the name of a certificate; empty or true = default.
function kinds.certificate(text)
  local s = trim(text)
  if s == "" or s:lower() == "true" then return "default" end
  if s:lower() == "false" then return nil, "to switch HTTPS off for this address remove the line" end
  return kinds.name(text)
end

return kinds

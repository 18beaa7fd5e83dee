-- Ports by protocol name (Q1, Q4): the names of the product family, and those that the operator adds in the file `services`, whose lines
-- are those of /etc/services: NAME PORT/PROTOCOL [OTHER-NAME …] [# comment]. /etc/services itself is not asked: a plan must not change
-- because a package did.
local near = require "portreeve.near"
local ipairs, pairs, sort, tonumber, tostring = ipairs, pairs, table.sort, tonumber, tostring
local _ENV = nil

local portnames = {}

local builtin = { SMTP = 25, FINGER = 79, HTTP = 80, POP = 110, POP3 = 110, NNTP = 119, IMAP = 143, HTTPS = 443 }
local protocols = { tcp = true, udp = true, sctp = true, dccp = true }
local LONGEST = 60

function portnames.new()
  local names = { by_name = {}, other = {}, by_port = {} } -- other: names that exist for another protocol than tcp
  for name, port in pairs(builtin) do
    names.by_name[name:lower()] = { port = port, name = name }
    names.by_port[port] = true
  end
  return names
end

local function good_name(name)
  return name:find("^[%w][%w._+-]*$") and name:find("%a") and #name <= LONGEST
end

-- One name of a line. An equal one says nothing new, a different one for the same name could mean either.
local function add(names, report, place, name, port)
  local key = name:lower()
  local old = names.by_name[key]
  if old and old.line and old.port ~= port then
    report.error(place, ("%s is port %d here and port %d in line %d: remove one of the two lines"):format(name, port, old.port, old.line))
    return
  end
  if old and old.line then
    report.warn(place, ("%s stands in line %d too: once is enough"):format(name, old.line))
  elseif old and old.port ~= port then
    report.warn(place, ("%s, without this line port %d, is port %d from here on"):format(name, old.port, port))
  end
  names.by_name[key] = { port = port, name = name, line = place.line }
  names.by_port[port] = true
end

local function read_line(names, report, place, line)
  local words = {}
  for word in line:gsub("#.*$", ""):gmatch("%S+") do
    words[#words + 1] = word
  end
  if not words[1] then return end
  local digits, protocol = (words[2] or ""):match("^(%d+)/(%a+)$")
  local port = digits and #digits <= 5 and tonumber(digits)
  if not port or not protocols[protocol:lower()] then
    report.error(place, "a line is written NAME PORT/tcp, as in IMAP 143/tcp, with other names behind it and comments behind #")
    return
  end
  if port < 1 or port > 65535 or tostring(port) ~= digits then
    report.error(place, ("port %s is not a whole number from 1 to 65535"):format(digits))
    return
  end
  for i, name in ipairs(words) do
    if i ~= 2 and not good_name(name) then
      report.error(place, ("%q is not a name: letters, digits and . _ + - only, at least one letter"):format(name:sub(1, LONGEST)))
    elseif i ~= 2 and protocol:lower() == "tcp" then
      add(names, report, place, name, port)
    elseif i ~= 2 then
      local key = name:lower()
      names.other[key] = names.other[key] or { protocol = protocol:lower(), port = port, file = place.file, line = place.line }
    end
  end
end

-- The names built in and those of the file's text.
function portnames.read(text, display, report)
  local names, n = portnames.new(), 0
  names.file = display
  text = text:gsub("^\xef\xbb\xbf", ""):gsub("\r\n?", "\n")
  for line in (text .. "\n"):gmatch("(.-)\n") do
    n = n + 1
    read_line(names, report, { file = display, line = n }, line)
  end
  return names
end

local function unknown(names, text)
  if text:lower() == "free" then
    return "free stands alone, as NAME.Port=free in listeners.ini (with NAME.Address where it is not for all addresses): write a port here"
  end
  local file = names.file or "the file services"
  local other = names.other[text:lower()]
  if other then
    local what = "%s is a name for %s only (%s:%d): add a line like `%s %d/tcp` there, or write the number"
    return what:format(text, other.protocol, other.file, other.line, text, other.port)
  end
  local known = {}
  for _, n in pairs(names.by_name) do
    known[#known + 1] = n.name
  end
  sort(known)
  local found = near.best(text, known)
  local guess = found and ("did you mean %s? "):format(found) or ""
  local what = "no protocol has the name %s: %swrite the port's number, or add a line like `%s 5001/tcp` to %s (/etc/services is not asked)"
  return what:format(text, guess, text, file)
end

local only_builtin = portnames.new()

-- The port of a name in any case; without names of those built in. nil where the text cannot be a name (the caller takes it for a
-- number), nil and why where nobody knows it.
function portnames.find(names, text)
  names = names or only_builtin
  local found = names.by_name[text:lower()]
  if found then return found.port end
  if not good_name(text) or not text:find("^%a") then return nil end
  return nil, unknown(names, text)
end

-- Has somebody given this port a name? Then it is meant.
function portnames.named(names, port)
  return names.by_port[port] or false
end

return portnames

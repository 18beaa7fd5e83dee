-- my.ini of the ui's own database (M58), by the rules of MySQL option files, which are not those of the other INI files:
--   sections [name]; comments from # or ; at the beginning of a line and from # behind a value; `-` and `_` are the same in a name; blanks
--   round `=` do not count; values in '…' or "…"; escapes \b \t \n \r \\ \s; of equal options the last counts; !include is an order.
-- What is wanted of it: on which port the server listens and the clients call. Programs read several sections as one.
local ipairs, tonumber, tostring = ipairs, tonumber, tostring
local _ENV = nil

local mysql_ini = {}

local PORT = 3306 -- where no line says another
local sections = {
  client = { client = true, ["client-server"] = true, ["client-mariadb"] = true },
  server = { mysqld = true, server = true, mariadb = true, mariadbd = true, ["client-server"] = true },
}
local escapes = { b = "\b", t = "\t", n = "\n", r = "\r", ["\\"] = "\\", s = " " }

local function unquoted(s)
  local quote, inner = s:match("^(['\"])(.*)%1$")
  if quote then return inner end
  return s
end

-- The value of an option: what is left of a comment, without quotes, escapes taken.
local function value_of(text)
  local quoted = text:match("^(%b'')") or text:match('^(%b"")')
  local s = quoted or text:gsub("%s*#.*$", "")
  return (unquoted(s:match("^%s*(.-)%s*$")):gsub("\\(.)", function(c) return escapes[c] or "\\" .. c end))
end

-- All options in order: { { section =, name = (with -), value = text or nil, line = }, … }. report: as portreeve.report.
function mysql_ini.parse(text, display, report)
  local out, section, n = {}, nil, 0
  text = text:gsub("^\xef\xbb\xbf", ""):gsub("\r\n?", "\n")
  for raw in (text .. "\n"):gmatch("(.-)\n") do
    n = n + 1
    local place, line = { file = display, line = n }, raw:match("^%s*(.-)%s*$")
    if line:find("^!") then
      report.warn(place, "what this line includes is not read here: a port given there is not seen")
    elseif line:find("^%[") then
      section = line:match("^%[%s*(.-)%s*%]")
      if not section then report.error(place, "a section is written [name]: the closing bracket is missing") end
    elseif line ~= "" and not line:find("^[#;]") and not section then
      report.error(place, "an option before the first [section]: MySQL refuses such a file")
    elseif line ~= "" and not line:find("^[#;]") then
      local name, value = line:match("^(.-)%s*=%s*(.*)$")
      name = (name or line:match("^[^#]*"):match("^(.-)%s*$")):gsub("_", "-"):gsub("^loose%-", "")
      out[#out + 1] = { section = section, name = name, value = value and value_of(value), line = n }
    end
  end
  return out
end

local function last(options, side, name)
  local found
  for _, o in ipairs(options) do
    if sections[side][o.section] and o.name == name then found = o end
  end
  return found
end

-- The port of one side as an entry of the rules; written = somebody wrote it.
local function port_of(options, side, display, report)
  local o = last(options, side, "port")
  if not o then return { value = PORT, file = display, line = 0, entry = "port" } end
  local text = o.value or ""
  local port = text:find("^%d+$") and #text <= 5 and tonumber(text) or 0
  local entry = { value = port, file = display, line = o.line, entry = ("[%s] port"):format(o.section), text = text, written = true }
  if port < 1 or port > 65535 or tostring(port) ~= text then
    report.error(entry, "not a port, a whole number from 1 to 65535")
    return nil
  end
  return entry
end

local function said(side, entry)
  if not entry.written then return ("[%s] has none, so %d"):format(side, entry.value) end
  return ("%s:%d has %d"):format(entry.file, entry.line, entry.value)
end

-- The database that this file describes: { port = entry, bind = address text or nil }, or nil after an error.
function mysql_ini.read(text, display, report)
  local options = mysql_ini.parse(text, display, report)
  local client, server = port_of(options, "client", display, report), port_of(options, "server", display, report)
  if not client or not server then return nil end
  local written = server.written and server or client
  if client.value ~= server.value then
    local what = "the ui would call another port than the database listens on: %s, %s: give port in [client] and [mysqld] one value"
    report.error(written, what:format(said("client", client), said("mysqld", server)))
    return nil
  end
  local off = last(options, "server", "skip-networking")
  if off and not (off.value and (off.value == "0" or off.value:lower() == "off" or off.value:lower() == "false")) then
    report.warn({ file = display, line = off.line }, ("%s: the database does not listen on port %d at all"):format(off.name, server.value))
  end
  local bind = last(options, "server", "bind-address")
  return { port = written, bind = bind and bind.value or nil }
end

return mysql_ini

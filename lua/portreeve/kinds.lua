-- What the value of an entry may be. Each kind is a function (text, spec) -> value, nil | nil, "what is allowed".
-- Texts come with blanks and line ends at their ends; every kind but `text` and `secret` trims them (I8).
local addr = require "portreeve.addr"
local ipairs, tostring = ipairs, tostring
local math_type, tointeger = math.type, math.tointeger
local concat = table.concat
local _ENV = nil

local kinds = {}

local function trim(s)
  return (s:match("^%s*(.-)%s*$"))
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

-- spec.zero: port 0 may be written here ("take a free port"); overrides by --set always may.
function kinds.port(text, spec, from_set)
  local least = (spec.zero or from_set) and 0 or 1
  return between(text, least, 65535, "a port, a whole number from 1 to 65535")
end

-- -1 and 0 switch it off (M64).
function kinds.shutdown_port(text)
  return between(text, -1, 65535, "a port from 1 to 65535, or -1 for none")
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

function kinds.host(text)
  local s = trim(text)
  if s:find("^[%w.:%%_-]+$") and #s <= 253 then return s end
  return nil, "not a host name or address"
end

function kinds.url(text)
  local s = trim(text)
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

-- One item of an address list: {address = canonical text, port = number or nil}.
local function list_item(item, spec, from_set)
  local s = trim(item):gsub("%s*:%s*(%d+)$", ":%1") -- blanks round the colon of a port
  if s == "" then return nil, "an item of the list is empty: remove the comma too many" end
  if spec.bare then
    local inner = s:match("^%[(.*)%]$")
    if inner and not inner:find(":", 1, true) then return nil, s .. ": brackets are for IPv6 addresses" end
    local address, why = addr.parse(inner or s)
    if address then return { address = address } end
    if addr.hostport(s, true) then return nil, s .. ": an address without port is wanted here" end
    return nil, why
  end
  local address, port = addr.hostport(s, from_set or false)
  if not address then return nil, port end
  return { address = address, port = port }
end

function kinds.addresses(text, spec, from_set)
  local out = {}
  if trim(text) == "" then return nil, "the list is empty: write addresses separated by commas, or make the line a comment" end
  for item in (text .. ","):gmatch("(.-),") do
    local one, why = list_item(item, spec, from_set)
    if not one then return nil, why end
    out[#out + 1] = one
  end
  return out
end

local families = { onlyipv4addresses = 4, onlyipv6addresses = 6 }

-- BindAddress: a list, or {family = 4|6} for one of the two words (M8, M9). Third result: a remark.
function kinds.bind(text, spec, from_set)
  local s = trim(text)
  local family = families[s:lower()]
  if family then
    local exact = "OnlyIPV" .. family .. "Addresses"
    return { family = family }, nil, s ~= exact and "the word is written " .. exact or nil
  end
  for item in (s .. ","):gmatch("(.-),") do
    if families[trim(item):lower()] then return nil, trim(item) .. " stands alone: it cannot be combined with a list" end
  end
  if spec.star and s == "*" then return { star = true } end
  return kinds.addresses(text, spec, from_set)
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

kinds.is_integer = function(v) return math_type(v) == "integer" end

return kinds

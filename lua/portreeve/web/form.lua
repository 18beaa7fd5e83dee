--- Urlencoded forms, queries, cookies: bounded parsers. A name given twice keeps its first value.
local char, ipairs, pairs, table_concat, tonumber, tostring, type = string.char, ipairs, pairs, table.concat, tonumber, tostring, type
local table_sort = table.sort
local _ENV = nil

local FIELDS_MAX = 64
local BODY_MAX = 65536

local function decode(text)
  return (text:gsub("+", " "):gsub("%%(%x%x)", function(hex) return char(tonumber(hex, 16)) end))
end

local function encode(text)
  return (tostring(text):gsub("[^%w._~-]", function(c) return ("%%%02X"):format(c:byte()) end))
end

-- most {fields=, bytes=}: for the few forms that are large. -> table name = value | nil, why
local function parse(text, most)
  local out, n = {}, 0
  local fields_max, body_max = most and most.fields or FIELDS_MAX, most and most.bytes or BODY_MAX
  if not text or text == "" then
    return out
  end
  if #text > body_max then
    return nil, "form longer than " .. body_max .. " bytes"
  end
  for pair in text:gmatch("[^&]+") do
    n = n + 1
    if n > fields_max then
      return nil, "more than " .. fields_max .. " fields"
    end
    local name, value = pair:match("^([^=]*)=?(.*)$")
    name = decode(name)
    if out[name] == nil then
      out[name] = decode(value)
    end
  end
  return out
end

-- The body of a POST as a form. -> table | nil, why
local function of_request(req, most)
  local kind = (req.headers["content-type"] or ""):lower():match("^%s*([^;%s]*)")
  if kind ~= "application/x-www-form-urlencoded" then
    return nil, "a form must be sent as application/x-www-form-urlencoded"
  end
  return parse(req.body, most)
end

local function query(values)
  local out = {}
  for k, v in pairs(values) do
    if v ~= nil then
      out[#out + 1] = encode(k) .. "=" .. encode(v)
    end
  end
  table_sort(out)
  return #out > 0 and "?" .. table_concat(out, "&") or ""
end

-- Value of one cookie. The first of a name wins: browsers send the most specific first.
local function cookie(req, name)
  local text = req.headers.cookie
  if type(text) ~= "string" or #text > 8192 then
    return nil
  end
  for pair in text:gmatch("[^;]+") do
    local k, v = pair:match("^%s*([^=%s]+)%s*=%s*(.-)%s*$")
    if k == name then
      return v
    end
  end
end

-- spec {name=, value=, secure=, max_age=} -> Set-Cookie value. Always HttpOnly, SameSite=Strict, Path=/.
local function set_cookie(spec)
  local parts = { spec.name .. "=" .. spec.value, "Path=/", "HttpOnly", "SameSite=Strict" }
  if spec.secure then
    parts[#parts + 1] = "Secure"
  end
  if spec.max_age then
    parts[#parts + 1] = "Max-Age=" .. spec.max_age
  end
  for _, part in ipairs(parts) do
    if part:find("[%c;]") then
      return nil, "a cookie holds a forbidden byte"
    end
  end
  return table_concat(parts, "; ")
end

return { parse = parse, of_request = of_request, query = query, encode = encode, decode = decode, cookie = cookie, set_cookie = set_cookie }

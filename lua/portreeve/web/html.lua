--- HTML and SVG as Lua values. Every text is escaped when it is rendered; the only way round that is html.raw, used for constants.
--
--   local h = html.tag
--   html.render(h.p{ class = "note", "5 < 6 ", h.a{ href = "/hub/", "hub" } })
-- Named keys are attributes (true: bare name, false/nil: left out), list entries are children: text, number, element, list, nil or false.
local error, getmetatable, ipairs, pairs, rawset, setmetatable, sort, table_concat, tointeger, tostring, type =
  error, getmetatable, ipairs, pairs, rawset, setmetatable, table.sort, table.concat, math.tointeger, tostring, type
local _ENV = nil

local void = { area = true, base = true, br = true, col = true, hr = true, img = true, input = true, link = true, meta = true, wbr = true }
local address_attribute = { href = true, src = true, action = true, formaction = true }
local element, raw_text = {}, {} -- metatables that mark what may be rendered
local DEPTH_MAX = 100

local entity = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&#39;" }
local function escape(text)
  return (text:gsub("[&<>\"']", entity):gsub("[%z\1-\8\11\12\14-\31\127]", "\u{FFFD}"))
end

local function raw(text)
  return setmetatable({ text }, raw_text)
end

-- cjson makes 8080.0 of 8080.
local function plain_number(n)
  return tostring(tointeger(n) or n)
end

-- Relative addresses and http(s) only: a stored `javascript:` must not become a link. Browsers drop control bytes inside addresses.
local function safe_address(text)
  text = text:gsub("%c", "")
  local scheme = text:match("^%s*([%a][%w+.-]*)%s*:")
  if scheme and not (scheme:lower() == "http" or scheme:lower() == "https") then
    return "#"
  end
  return text
end

local function add_attributes(out, node)
  local names = {}
  for k in pairs(node) do
    if type(k) == "string" then
      names[#names + 1] = k
    end
  end
  sort(names) -- the same page is the same bytes
  for _, k in ipairs(names) do
    local v = node[k]
    if not k:match("^[%a][%w:_-]*$") or k:match("^[oO][nN]") then
      error("html: attribute name '" .. k .. "' is not allowed")
    end
    if v == true then
      out[#out + 1] = " " .. k
    elseif v ~= false then
      local text = type(v) == "number" and plain_number(v) or tostring(v)
      if address_attribute[k] then
        text = safe_address(text)
      end
      out[#out + 1] = " " .. k .. '="' .. escape(text) .. '"'
    end
  end
end

local function add(out, node, depth)
  local kind = type(node)
  if node == nil or node == false then
    return
  elseif kind == "string" then
    out[#out + 1] = escape(node)
    return
  elseif kind == "number" then
    out[#out + 1] = plain_number(node)
    return
  elseif kind ~= "table" or depth > DEPTH_MAX then
    error("html: a " .. kind .. " cannot be rendered")
  end
  local mark = getmetatable(node)
  if mark == raw_text then
    out[#out + 1] = node[1]
    return
  end
  local last = 0
  for k in pairs(node) do -- children may have holes (nil where there is nothing to show)
    if type(k) == "number" and k > last then
      last = k
    end
  end
  if mark ~= element then
    for i = 1, last do
      add(out, node[i], depth + 1)
    end
    return
  end
  local name = node[element]
  out[#out + 1] = "<" .. name
  add_attributes(out, node)
  out[#out + 1] = ">"
  if not void[name] then
    for i = 1, last do
      add(out, node[i], depth + 1)
    end
    out[#out + 1] = "</" .. name .. ">"
  end
end

local tag = setmetatable({}, {
  __index = function(self, name)
    if name == "script" or name == "style" then
      error("html: no inline scripts or styles (the pages' CSP forbids them)")
    end
    local function make(content)
      local node = content or {}
      if type(node) ~= "table" or getmetatable(node) ~= nil then
        node = { node }
      end
      node[element] = name
      return setmetatable(node, element)
    end
    rawset(self, name, make)
    return make
  end,
})

local function render(node)
  local out = {}
  add(out, node, 0)
  return table_concat(out)
end

local function map(list, make)
  local out = {}
  for i, v in ipairs(list) do
    out[i] = make(v, i) or false
  end
  return out
end

return { tag = tag, raw = raw, render = render, escape = escape, map = map }

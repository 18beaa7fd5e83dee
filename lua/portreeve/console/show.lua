-- Values as text for a terminal: arrays of records as aligned tables, records as "name  value" lines. Bounded, and no control character of
-- a value reaches the terminal.
local ipairs, pairs, tostring, type = ipairs, pairs, tostring, type
local math_type, max = math.type, math.max
local concat, sort = table.concat, table.sort
local format, date = string.format, os.date
local len, offset = utf8.len, utf8.offset
local _ENV = nil

local ROWS, COLUMNS, CELL, DEPTH = 500, 24, 120, 6

-- Names that come first, in this order; the rest follows by alphabet, and long things come last.
local first, last = {}, { because = 1, policy = 2, text = 3, listeners = 4, counters = 5, certificates = 6, last_reload = 7 }
for i, name in ipairs {
  "place", "name", "id", "version", "pid", "generation", "worker", "ms", "at_ms", "address", "port", "remote", "local", "scheme",
  "services", "certificate", "listener", "rule", "stage", "backend", "state", "in", "out", "probe", "probe_us", "reason", "tls", "active",
  "maximum", "requests", "age_ms", "since_ms", "restriction", "list", "ok", "file", "line", "entry", "row", "lines", "runs_in", "asked",
  "refused", "failed", "used", "unused", "shadowed", "hits",
} do
  first[name] = i
end

local function by_name(a, b)
  local x, y = last[a] or 0, last[b] or 0
  if x ~= y then return x < y end
  x, y = first[a] or 1000, first[b] or 1000
  if x ~= y then return x < y end
  if type(a) ~= type(b) then return type(a) == "number" end
  if type(a) == "number" or type(a) == "string" then return a < b end
  return tostring(a) < tostring(b)
end

local function keys_of(t)
  local keys = {}
  for k in pairs(t) do
    keys[#keys + 1] = k
  end
  sort(keys, by_name)
  return keys
end

-- ---- single values ----

local function hexed(s)
  return (s:gsub(".", function(c) return format("\\x%02x", c:byte()) end))
end

-- What a terminal may be given: control characters (also U+0080 … U+009F), what turns the direction of writing, and bytes that are no
-- UTF-8 become \xNN.
local function clean(s, keep_lines)
  if not len(s) then s = s:gsub("[\128-\255]", hexed) end
  s = s:gsub("\194[\128-\159]", hexed):gsub("\226\128[\168-\174]", hexed):gsub("\226\129[\166-\169]", hexed)
  return (s:gsub(keep_lines and "[%z\1-\8\11-\31\127]" or "[%z\1-\31\127]", hexed))
end

local function width(s)
  return len(s) or #s
end

local function cut(s)
  return width(s) <= CELL and s or s:sub(1, offset(s, CELL) - 1) .. "…"
end

-- Milliseconds: a moment where the number is one, else a span.
local function time(ms)
  if ms > 1e11 then return date("%Y-%m-%d %H:%M:%S", ms // 1000) end
  if ms >= 172800000 then return format("%.1f days", ms / 86400000) end
  if ms >= 7200000 then return format("%.1f h", ms / 3600000) end
  if ms >= 120000 then return format("%.1f min", ms / 60000) end
  return format("%.1f s", ms / 1000)
end

local cell

-- {file=, line=, entry=, row=}: the reason behind something.
local function place(t)
  local s = t.file
  if t.line and t.line > 0 then s = format("%s:%d", s, t.line) end
  if t.entry and t.entry ~= "" then s = s .. " " .. t.entry end
  if t.row and t.row ~= "" then s = format("%s (%s)", s, t.row) end
  return s
end

local function inline(t, depth)
  if depth > DEPTH then return "{…}" end
  if type(t.file) == "string" and (t.line == nil or type(t.line) == "number") then return clean(place(t)) end
  local parts, list = {}, #t > 0
  for _, k in ipairs(keys_of(t)) do
    if #parts == COLUMNS then
      parts[#parts + 1] = "…"
      break
    end
    local v = cell(k, t[k], depth + 1)
    parts[#parts + 1] = list and type(k) == "number" and v or clean(tostring(k)) .. "=" .. v
  end
  return concat(parts, list and "," or " ")
end

cell = function(key, v, depth)
  if v == nil then return "" end
  if type(v) == "table" then return inline(v, depth) end
  if v == 0 and type(key) == "string" and key:find "at_ms$" then return "-" end -- a moment that has not been
  if type(v) == "number" and type(key) == "string" and (key == "ms" or key:find "_ms$") then return time(v) end
  if type(v) == "number" and type(key) == "string" and key:find "^not_" then return date("%Y-%m-%d %H:%M:%S", v // 1) end -- certificates: s
  if math_type(v) == "float" and v % 1 == 0 and v < 2 ^ 53 and v > -2 ^ 53 then return format("%d", v) end -- JSON knows one kind of number
  if type(v) == "number" or type(v) == "boolean" then return tostring(v) end
  if type(v) == "string" then return clean((v:gsub("\n+$", ""):gsub("\n", " / "))) end
  if type(v) == "function" then return "a function" end
  if type(v) == "userdata" then return "-" end -- JSON's null
  return type(v)
end

-- ---- tables ----

local function is_list_of_records(t)
  if #t == 0 then return false end
  for i = 1, #t do
    if type(t[i]) ~= "table" or #t[i] > 0 then return false end
  end
  return true
end

local function columns_of(rows)
  local seen = {}
  for i = 1, #rows do
    for k, v in pairs(rows[i]) do
      if v ~= "" and v ~= false then seen[k] = true end -- what is so in no row is not worth a column
    end
  end
  local keys = keys_of(seen)
  for i = #keys, COLUMNS + 1, -1 do
    keys[i] = nil
  end
  return keys
end

local function padded(line)
  return (concat(line, "  "):gsub("%s+$", ""))
end

local function grid(rows, indent)
  local keys, n = columns_of(rows), #rows < ROWS and #rows or ROWS
  local wide, cells, out, line = {}, {}, {}, {}
  for c, k in ipairs(keys) do
    wide[c] = width(clean(tostring(k)))
  end
  for r = 1, n do
    cells[r] = {}
    for c, k in ipairs(keys) do
      local s = cut(cell(k, rows[r][k], 0))
      cells[r][c] = s
      wide[c] = max(wide[c], width(s))
    end
  end
  for c, k in ipairs(keys) do
    local name = clean(tostring(k)):upper()
    line[c] = name .. (" "):rep(wide[c] - width(name))
  end
  out[1] = indent .. padded(line)
  for r = 1, n do
    for c, k in ipairs(keys) do
      local s = cells[r][c]
      local pad = (" "):rep(wide[c] - width(s))
      line[c] = type(rows[r][k]) == "number" and pad .. s or s .. pad
    end
    out[r + 1] = indent .. padded(line)
  end
  if #rows > n then out[#out + 1] = format("%s… and %d more (--json shows them all)", indent, #rows - n) end
  return concat(out, "\n")
end

local record

local function block(v, indent, depth)
  if is_list_of_records(v) then return grid(v, indent) end
  if #v > 0 then
    local out = {}
    for i = 1, #v < ROWS and #v or ROWS do
      out[i] = indent .. cell(nil, v[i], depth)
    end
    if #v > ROWS then out[#out + 1] = format("%s… and %d more (--json shows them all)", indent, #v - ROWS) end
    return concat(out, "\n")
  end
  return record(v, indent, depth)
end

record = function(t, indent, depth)
  local out, wide, keys = {}, 0, keys_of(t)
  for i, k in ipairs(keys) do
    if i <= ROWS then wide = max(wide, width(clean(tostring(k)))) end
  end
  for i, k in ipairs(keys) do
    if i > ROWS then
      out[#out + 1] = format("%s… and %d more (--json shows them all)", indent, #keys - ROWS)
      break
    end
    local v, name = t[k], clean(tostring(k))
    local nested = type(v) == "table" and type(v.file) ~= "string" and (is_list_of_records(v) or #v == 0) and #keys_of(v) > 0
    if nested and depth < DEPTH then
      out[#out + 1] = format("%s%s\n%s", indent, name, block(v, indent .. "  ", depth + 1))
    else
      out[#out + 1] = format("%s%s%s  %s", indent, name, (" "):rep(wide - width(name)), cell(k, v, depth))
    end
  end
  return concat(out, "\n")
end

-- Text of any value, without a newline at its end.
local function show(v)
  if type(v) == "string" then return (clean(v, true):gsub("\n+$", "")) end
  if type(v) == "function" then return "a function: call it with ()" end
  if type(v) ~= "table" then return v == nil and "nil" or cell(nil, v, 0) end
  local text = block(v, "", 0)
  return text == "" and "(none)" or text
end

return { show = show, clean = clean }

--- Static files of a component: read once when the handler is made, named by their content, served from memory.
-- Address: PREFIX/static/NAME.HASH.EXT, cached for a year; PREFIX/static/NAME.EXT works too and is revalidated by ETag.
local sys = require "portreeve.sys"
local ipairs, pairs = ipairs, pairs
local _ENV = nil

local FILE_MAX = 262144
local types = { css = "text/css; charset=utf-8", svg = "image/svg+xml", txt = "text/plain; charset=utf-8", png = "image/png" }

local function hex(bytes)
  return (bytes:gsub(".", function(c) return ("%02x"):format(c:byte()) end))
end

-- Folder of a module's file: "portreeve.web.static" -> "portreeve/web/"
local function folder_of(module)
  return module:gsub("%.", "/"):match("^(.*/)")
end

-- files: { {module, "static/portreeve.css"} … } -> set | nil, why
local function load(files)
  local by_name = {}
  for _, f in ipairs(files) do
    local bytes, why = sys.library(folder_of(f[1]) .. f[2])
    if not bytes then
      return nil, why
    end
    local name, ext = f[2]:match("([%w_-]+)%.(%w+)$")
    if #bytes > FILE_MAX or not types[ext or ""] then
      return nil, f[2] .. ": larger than " .. FILE_MAX .. " bytes, or of a type that is not served"
    end
    local hash = hex(sys.sha256(bytes)):sub(1, 16)
    by_name[name .. "." .. ext] = { bytes = bytes, type = types[ext], etag = '"' .. hash .. '"', hashed = name .. "." .. hash .. "."
      .. ext }
  end
  return by_name
end

-- The address of a file for links in pages.
local function address(set, prefix, name)
  return prefix .. "/static/" .. set[name].hashed
end

-- -> response | nil (no such file)
local function serve(set, name, req)
  local found, forever = set[name], false
  if not found then
    for _, f in pairs(set) do
      if f.hashed == name then
        found, forever = f, true
      end
    end
  end
  if not found then
    return nil
  end
  local headers = {
    ["Content-Type"] = found.type,
    ["ETag"] = found.etag,
    ["Cache-Control"] = forever and "public, max-age=31536000, immutable" or "no-cache",
    ["X-Content-Type-Options"] = "nosniff",
    ["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'; sandbox",
  }
  if req.headers["if-none-match"] == found.etag then
    return { status = 304, headers = headers, body = "" }
  end
  return { status = 200, headers = headers, body = found.bytes }
end

return { load = load, address = address, serve = serve, hex = hex }

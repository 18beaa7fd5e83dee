--- The engine's status as plain Lua: JSON null is a value there, here it is nothing. A status that cannot be had is an empty one.
local cjson = require "cjson"
local pairs, pcall, type = pairs, pcall, type
local _ENV = nil

local function without_null(v)
  if type(v) ~= "table" then
    return v ~= cjson.null and v or nil
  end
  local out = {}
  for k, x in pairs(v) do
    out[k] = without_null(x)
  end
  return out
end

local function decoded(text)
  local ok, v = pcall(cjson.decode, text or "")
  return ok and type(v) == "table" and without_null(v) or {}
end

local function status(engine)
  local fine, v = pcall(engine.status)
  return fine and type(v) == "table" and without_null(v) or {}
end

return { without_null = without_null, decoded = decoded, status = status }

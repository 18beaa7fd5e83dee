-- The rules of a generation for code inside the engine: the gate has already found them free of errors.
-- Files are read when somebody first asks: an engine has a dozen Lua states, most of which want a few entries of a short file, and the
-- files with the sockets, which hardly one of them wants, can be long.
local rules = require "portreeve.rules"
local error, pairs, setmetatable = error, pairs, setmetatable
local concat = table.concat
local _ENV = nil

local short = { hub = true, lui = true, tracker = true, portreeve = true, components = true } -- of schema.short

local function read(texts, only_short)
  local r, report = rules.read(texts, true, only_short)
  if report.errors[1] then error(concat(report.errors, "\n"), 0) end
  return r
end

-- texts: { ["tomcat.ini"] = { text =, display = }, … } as hooks_push_conf makes it from the bundle.
return function(texts)
  local sections, whole, half = {}, false, false
  return setmetatable({}, {
    __index = function(_, key)
      if sections[key] == nil and not whole and not (half and short[key]) then
        if short[key] then half = true else whole = true end
        for name, section in pairs(read(texts, short[key])) do
          sections[name] = sections[name] or section
        end
      end
      return sections[key]
    end,
  })
end

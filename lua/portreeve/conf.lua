-- The rules of a generation for code inside the engine: the gate has already found them free of errors.
-- A section is read when somebody first asks for it: an engine has a dozen Lua states, most of which want a few entries of one file, and
-- the files with the sockets, which none of them wants, can be long.
local rules = require "portreeve.rules"
local error, pairs, setmetatable = error, pairs, setmetatable
local concat = table.concat
local _ENV = nil

local alone = { hub = "hub.ini", lui = "lui.ini", tracker = "tracker.ini", portreeve = "portreeve.ini" } -- say nothing about each other

local function read(texts, only)
  local r, report = rules.read(texts, true, only)
  if report.errors[1] then error(concat(report.errors, "\n"), 0) end
  return r
end

-- texts: { ["tomcat.ini"] = { text =, display = }, … } as hooks_push_conf makes it from the bundle.
return function(texts)
  local sections, whole = {}, false
  return setmetatable({}, {
    __index = function(_, key)
      if sections[key] == nil and alone[key] then
        sections[key] = read(texts, alone[key])
      elseif sections[key] == nil and not whole then
        whole = true
        for name, section in pairs(read(texts)) do
          sections[name] = sections[name] or section
        end
      end
      return sections[key]
    end,
  })
end

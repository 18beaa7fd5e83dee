-- The rules of a generation for code inside the engine: the gate has already found them free of errors.
local rules = require "portreeve.rules"
local error = error
local concat = table.concat
local _ENV = nil

-- texts: { ["tomcat.ini"] = { text =, display = }, … } as hooks_push_conf makes it from the bundle.
return function(texts)
  local r, report = rules.read(texts, true)
  if report.errors[1] then error(concat(report.errors, "\n"), 0) end
  return r
end

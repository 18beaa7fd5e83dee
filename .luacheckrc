std = "lua54"
max_line_length = 140
-- `local _ENV = nil` after the requires is the house style; an unused argument is often part of a contract.
ignore = { "211/_ENV", "212", "431/_.*" }
files["tests/lua"] = { std = "lua54+busted" }
exclude_files = { "build", "var" }

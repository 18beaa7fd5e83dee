-- Every entry of every configuration file: kind of value (portreeve.kinds), default. One place; conf/*.ini explains them to people.
local settings = require "portreeve.settings"
local said = require "portreeve.schema_words"
local ipairs, pairs, sort = ipairs, pairs, table.sort
local _ENV = nil

local components = { "tracker", "ui", "hub" }

local function words_of(unit)
  if not unit:find("|", 1, true) then return nil end
  local words = {}
  for word in unit:gmatch("[^|]+") do
    words[#words + 1] = word
  end
  return words
end

local schema = {
  order = { "tomcat.ini", "hub.ini", "lui.ini", "tracker.ini", "certificates.ini", "listeners.ini", "portreeve.ini" },
  short = { "hub.ini", "lui.ini", "tracker.ini", "portreeve.ini" }, -- of these, those without sockets
  components = components,

  -- Files with fixed entries.
  ["tomcat.ini"] = {
    Port = { kind = "port", default = 80 },
    SecurePort = { kind = "port", default = 443 },
    SecureServer = { kind = "secure_server", default = false },
    BindAddress = { kind = "bind" },
    ShutdownPort = { kind = "shutdown_port", default = 8007 },
  },
  ["hub.ini"] = {
    RMIPort = { kind = "port", default = 1099 },
  },
  ["lui.ini"] = {
    RMIPort = { kind = "port", default = 1099 },
    HubRMIPort = { kind = "port", default = 1099 },
    TrackerRMIPort = { kind = "port", default = 1099 },
    HubHost = { kind = "host", default = "localhost" },
    TrackerHost = { kind = "host", default = "localhost" },
    TrackerCommunicationsPort = { kind = "port" },
    TransferInterval = { kind = "integer", least = 0, most = 86400000, unit = "ms", default = 0 },
    UrlForRecipients = { kind = "url" },
  },
  ["tracker.ini"] = {
    RMIPort = { kind = "port", default = 1099 },
    HubRMIPort = { kind = "port", default = 1099 },
    HubHost = { kind = "host", default = "localhost" },
    CommunicationsPort = { kind = "port", default = 7000 },
    TrackerId = { kind = "name", default = "trk1" },
    UndoDays = { kind = "integer", least = 0, most = 3650, unit = "days", default = 30 },
    EarlyTime = { kind = "integer", least = 0, most = 3600000, unit = "ms", default = 5000 },
    BurstLinks = { kind = "integer", least = 2, most = 1000, unit = "links", default = 3 },
    BurstTime = { kind = "integer", least = 0, most = 3600000, unit = "ms", default = 10000 },
    TrapTime = { kind = "integer", least = 0, most = 86400000, unit = "ms", default = 60000 },
  },
  ["portreeve.ini"] = {
    Components = { kind = "words", words = components, default = components },
    User = { kind = "name" },
    TunnelEdits = { kind = "word", words = { "Off", "On" }, default = "Off" },
  },

  -- Files whose entries are NAME.Entry: one section for each NAME.
  sections = {
    ["certificates.ini"] = {
      Certificate = { kind = "path" },
      Key = { kind = "path" },
      Password = { kind = "secret" },
      PasswordFile = { kind = "path" },
      Names = { kind = "names" },
    },
    ["listeners.ini"] = {
      Port = { kind = "listen", zero = true },
      Address = { kind = "bind", star = true, default = { star = true } },
      InitTLS = { kind = "word", words = { "Off", "On", "Ext" }, default = "Off" },
      Proxy = { kind = "word", words = { "Off", "V1", "V2", "Any" }, default = "Off" },
      ProxyFrom = { kind = "list" },
      ProxyInside = { kind = "word", words = { "Off", "On" }, default = "Off" },
      Certificate = { kind = "name", default = "default" },
      ClientCertificate = { kind = "word", words = { "Off", "Ask", "Require" }, default = "Off" },
      ClientCA = { kind = "path" },
      Services = { kind = "words", default = components,
                   words = { "tracker", "ui", "hub", "ops", "tunnel", "tls-tunnel", "remote-log", "script" } },
      Backend = { kind = "backends" },
      SendProxy = { kind = "word", words = { "Off", "V1", "V2" }, default = "Off" },
      Transport = { kind = "word", words = { "TCP", "UDP" }, default = "TCP" },
      Script = { kind = "name" },
      WhenMissing = { kind = "word", words = { "Refuse", "Wait", "Freebind" }, default = "Refuse" },
      Restriction = { kind = "word", words = { "None", "Grant", "Deny" }, default = "None" },
      List = { kind = "list" },
      MaxConnections = { kind = "integer", least = 0, most = 1000000, default = 0 },
      MaxPerAddress = { kind = "integer", least = 0, most = 1000000, default = 0 },
      Reserve = { kind = "integer", least = 0, most = 1000000, default = 0 },
      GiveWay = { kind = "word", words = { "Off", "On" }, default = "Off" },
      PrefixIPv4 = { kind = "integer", least = 8, most = 32, unit = "bits", default = 32 },
      PrefixIPv6 = { kind = "integer", least = 16, most = 128, unit = "bits", default = 64 },
      NetIPv4 = { kind = "integer", least = 8, most = 32, unit = "bits", default = 24 },
      NetIPv6 = { kind = "integer", least = 16, most = 128, unit = "bits", default = 48 },
      RateConnections = { kind = "rate", default = { 0, 0 } },
      RateHandshakes = { kind = "rate", default = { 0, 0 } },
      RateRequests = { kind = "rate", default = { 0, 0 } },
      RateConnectionsPerNet = { kind = "rate", default = { 0, 0 } },
      RateHandshakesPerNet = { kind = "rate", default = { 0, 0 } },
      RateRequestsPerNet = { kind = "rate", default = { 0, 0 } },
      Backlog = { kind = "integer", least = 1, most = 65535, default = 511 },
    },
  },
  -- Of these, NAME.Entry-KEY: any number of them, into section.keyed[Entry] (portreeve.entries). key: kind of KEY; adds: a row has those of
  -- its listener too, where it says nothing of that key.
  keyed = {
    ["listeners.ini"] = { Backend = { kind = "backends", key = "sni" }, Label = { kind = "label", key = "label_key", adds = true } },
  },
  -- Listeners that exist without a section; theirs may set limits only. Where their sockets come from.
  builtin = { http = true, internal = true, communications = true },
  origin = {
    http = "tomcat.ini", internal = "RMIPort (hub.ini, lui.ini, tracker.ini)", communications = "CommunicationsPort (tracker.ini)",
  },
  limit_list = { "WhenMissing", "ClientCertificate", "ClientCA", "Restriction", "List", "MaxConnections", "MaxPerAddress", "Reserve",
                 "GiveWay", "PrefixIPv4", "PrefixIPv6", "NetIPv4", "NetIPv6", "RateConnections", "RateHandshakes", "RateRequests",
                 "RateConnectionsPerNet", "RateHandshakesPerNet", "RateRequestsPerNet", "Backlog" },
  -- Of the entries of listeners.ini, those that a row (NAME.2.Entry) can have. The others count over all sockets of the listener (G24).
  row = {
    "Port", "Address", "Transport", "InitTLS", "Proxy", "ProxyFrom", "ProxyInside", "Certificate", "ClientCertificate", "ClientCA",
    "Services", "Script", "Backend", "SendProxy", "WhenMissing", "Restriction", "List", "Backlog",
  },
}

schema.rows, schema.limits = {}, {}
for _, entry in ipairs(schema.limit_list) do
  schema.limits[entry] = true
end
for _, entry in ipairs(schema.row) do
  schema.rows[entry] = schema.sections["listeners.ini"][entry]
end

-- What pages say of the entries of listeners.ini: in schema.shown in their order, what nobody has described yet behind them.
local listeners, keyed = schema.sections["listeners.ini"], schema.keyed["listeners.ini"]
schema.groups, schema.shown = said.groups, {}
local function describe(w, spec, help)
  if not spec then return end
  spec.group, spec.label, spec.help, spec.rare, spec.by_hand = w[2], w[3], help, w.rare, w.by_hand
  spec.keys = w.keys
end
local files = { path = true, secret = true } -- no page names a file of this machine, or shows a secret
for _, w in ipairs(said) do
  describe(w, listeners[w[1]], w[4])
  describe(w, keyed[w[1]], w.key_help)
  schema.shown[#schema.shown + 1] = w[1]
end
local rest = {}
for entry, spec in pairs(listeners) do
  spec.by_hand = spec.by_hand or files[spec.kind]
  if not spec.label then
    rest[#rest + 1], spec.label, spec.group, spec.rare = entry, entry, spec.group or "service", true
  end
end
sort(rest)
for _, entry in ipairs(rest) do
  schema.shown[#schema.shown + 1] = entry
end

-- The spec of a listener's entry, and of one with a key: "Port"; "Backend-mail.example.org" -> spec, "Backend", "mail.example.org".
function schema.of_listener(text)
  if listeners[text] then return listeners[text] end
  local entry, key = text:match("^(%a+)%-(.+)$")
  if entry and keyed[entry] then return keyed[entry], entry, key end
end

for _, s in ipairs(settings) do
  local field, entry, least, most, default, unit = s[1], s[2], s[3], s[4], s[5], s[6]
  schema["portreeve.ini"][entry] =
    { kind = "integer", least = least, most = most, default = default, words = words_of(unit), unit = unit, field = field }
end

return schema

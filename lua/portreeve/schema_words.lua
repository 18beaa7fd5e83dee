-- What pages say of the entries of listeners.ini, in the order in which they show them: { entry, group, label, help }. portreeve.schema
-- puts it into the entry's spec. rare: folded away while nothing of it is set; by_hand: never changed from a page; keys, key_help: for
-- NAME.Entry-KEY.
return {
  groups = {
    { name = "address", title = "Address and port" },
    { name = "who", title = "Who may come" },
    { name = "limits", title = "Limits and rates" },
    { name = "proxy", title = "Behind a proxy" },
    { name = "service", title = "Service and backend" },
  },
  { "Port", "address", "Port", "A number, the name of a protocol, free for one that the kernel chooses, or ADDRESS:PORT. 0 takes "
    .. "the listener away." },
  { "Address", "address", "Local address", "* for all, or addresses and interfaces with commas between them." },
  { "Transport", "address", "Transport", "UDP is for remote-log only; it has no TLS and no counts." },
  { "InitTLS", "address", "Init SSL/TLS", "On: TLS begins at once. Ext: a device in front does TLS and must be named by a restriction or "
    .. "by Believed from." },
  { "Certificate", "address", "Certificate", "A name of certificates.ini, for Init SSL/TLS On." },
  { "WhenMissing", "address", "When an address is missing", "Refuse: nothing starts. Wait: the socket opens when the address comes. "
    .. "Freebind: it is bound in advance.", rare = true },
  { "Backlog", "address", "Waiting, at most", "Callers the kernel lets wait until we accept, each socket.", rare = true },

  { "Restriction", "who", "Restriction", "Grant: only addresses of the list come in. Deny: all but those." },
  { "List", "who", "Address list", "Addresses, as in 10.0.0.0/8, !10.1.0.0/16, 192.0.2.1-192.0.2.9; or NAME for lists/NAME.list." },
  { "ClientCertificate", "who", "Certificates of callers", "With Init SSL/TLS On. Ask: who has one may show it. Require: nobody comes in "
    .. "without one.", rare = true },
  { "ClientCA", "who", "Authorities of those", "The file with the authorities that callers' certificates must come from.", rare = true },

  { "MaxConnections", "limits", "Connections, at most", "At one time, over all sockets of the listener; 0: as many as the engine takes." },
  { "MaxPerAddress", "limits", "From one address, at most", "At one time; 0: no limit. Members of lists/cluster.list are exempt." },
  { "RateConnections", "limits", "Connects of one address", "How many in what time, as in 100/10s or 5/m; 0: no limit." },
  { "RateHandshakes", "limits", "TLS handshakes of one address", "How many in what time; 0: no limit." },
  { "RateRequests", "limits", "Requests of one address", "How many in what time; 0: no limit. One too many gets 429." },
  { "RateConnectionsPerNet", "limits", "Connects of one net", "The same for all addresses of a net together.", rare = true },
  { "RateHandshakesPerNet", "limits", "TLS handshakes of one net", "The same for all addresses of a net together.", rare = true },
  { "RateRequestsPerNet", "limits", "Requests of one net", "The same for all addresses of a net together.", rare = true },
  { "Reserve", "limits", "Kept for clients", "Of the connections above, places for members of lists/clients.list.", rare = true },
  { "GiveWay", "limits", "Give way", "On: when all places are taken and a client calls, the one idle longest is closed for it.",
    rare = true },
  { "PrefixIPv4", "limits", "One address, IPv4", "So many bits of an IPv4 address count as one address.", rare = true },
  { "PrefixIPv6", "limits", "One address, IPv6", "So many bits of an IPv6 address count as one address.", rare = true },
  { "NetIPv4", "limits", "One net, IPv4", "So many bits of an IPv4 address are its net.", rare = true },
  { "NetIPv6", "limits", "One net, IPv6", "So many bits of an IPv6 address are its net.", rare = true },

  { "Proxy", "proxy", "PROXY header", "Callers begin with a PROXY header of this version; whom it names is judged and counted.",
    rare = true },
  { "ProxyFrom", "proxy", "Believed from", "The devices that may send it: NAME for lists/NAME.list, or the addresses themselves.",
    rare = true },
  { "ProxyInside", "proxy", "Header within TLS", "On: it is the first thing within TLS, not before it.", rare = true },

  { "Services", "service", "Carries", "tracker, ui, hub and ops speak HTTP; each of the others has a listener to itself. Tunnels are "
    .. "made and changed here only with TunnelEdits=On in portreeve.ini." },
  { "Backend", "service", "Backend", "For tunnel and tls-tunnel: ADDRESS:PORT; of several, the next one is called where one does not "
    .. "answer. unix:/PATH is written in the file only.", rare = true, keys = "Host name (SNI)",
    key_help = "For tls-tunnel: where callers who ask for that host go, instead. *.example.org is any one label before it." },
  { "SendProxy", "service", "PROXY header to the backend", "Tells the backend who calls; it must expect it.", rare = true },
  { "Script", "service", "Script", "For script: NAME of policies/NAME.lua.", rare = true },
  { "Label", "service", "Label", nil, rare = true, keys = "Name", key_help = "Anything you want to tell a policy of your own, which finds "
    .. "it in facts.label." },
}

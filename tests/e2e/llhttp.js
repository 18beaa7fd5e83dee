// Reads one JSON array of base64 texts from standard input; for each says what node's llhttp (strict) makes of it, one JSON object a line:
// {"bodies": [base64 of each whole request's body], "error": null | "HPE_…"}
'use strict';
const { HTTPParser } = process.binding('http_parser');

function judge(raw) {
  const bodies = [];
  let body = [];
  const p = new HTTPParser();
  p.initialize(HTTPParser.REQUEST, {}, 1 << 20, HTTPParser.kLenientNone || 0);
  p[HTTPParser.kOnMessageBegin | 0] = () => {};
  p[HTTPParser.kOnHeaders | 0] = () => {};
  p[HTTPParser.kOnHeadersComplete | 0] = () => 0;
  p[HTTPParser.kOnBody | 0] = (b) => { body.push(Buffer.from(b)); };
  p[HTTPParser.kOnMessageComplete | 0] = () => { bodies.push(Buffer.concat(body).toString('base64')); body = []; };
  const r = p.execute(raw);
  return { bodies, error: r instanceof Error ? r.code : null };
}

const cases = JSON.parse(require('fs').readFileSync(0, 'utf8'));
process.stdout.write(cases.map((c) => JSON.stringify(judge(Buffer.from(c, 'base64'))) + '\n').join(''));

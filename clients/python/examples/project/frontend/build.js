const fs = require("fs");

fs.mkdirSync("dist", { recursive: true });
fs.writeFileSync("dist/page.html", `<h1>${require(".")()}</h1>\n`);

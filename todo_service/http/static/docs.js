"use strict";

const page = document.getElementById("swagger-ui");
const ui = SwaggerUIBundle({
  domNode: page,
  url: page.dataset.description,
  displayRequestDuration: true,
  validatorUrl: null, // which would send the description elsewhere
  onComplete() {
    if (page.dataset.token) ui.preauthorizeApiKey("bearer", page.dataset.token);
  },
});

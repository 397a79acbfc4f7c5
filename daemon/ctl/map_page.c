/*
 * map_page.c - the picture of a heap's memory as a page of its own, to be filtered and enlarged.
 *
 * The page needs nothing from anywhere else.  Its script reads what stands in the attributes of the cells: kind, class,
 * node and fill; without scripts the picture is there all the same.  Of what others wrote there are two names: the
 * heap's, and those of roots in the titles of cells.  Both are escaped when they are written, and the script puts no
 * text into the page as markup.
 */
#include "common/text.h"
#include "ctl/map.h"

static const char style[] = "body{margin:1.5em;background:#fff;font:14px sans-serif}\n"
                            "form{margin:0 0 1em;display:flex;flex-wrap:wrap;gap:.5em 1.2em;align-items:center}\n"
                            "#view{overflow:auto;max-height:85vh;border:1px solid #d5d9e0}\n"
                            "svg{display:block;max-width:100%;height:auto}\n"
                            "g[data-kind]:hover rect{opacity:.6}\n"
                            "g.out{opacity:.08}\n";

static const char script[] =
        "(function () {\n"
        "  'use strict';\n"
        "  function by(id) { return document.getElementById(id); }\n"
        "  var svg = document.querySelector('svg'), width = +svg.getAttribute('width');\n"
        "  var cells = Array.prototype.slice.call(document.querySelectorAll('g[data-kind]'));\n"
        "  function offer(id) {\n"
        "    var seen = {};\n"
        "    cells.forEach(function (g) {\n"
        "      var value = g.getAttribute('data-' + id), option;\n"
        "      if (!value || seen['x' + value])\n"
        "        return;\n"
        "      seen['x' + value] = true;\n"
        "      option = document.createElement('option');\n"
        "      option.value = option.textContent = value;\n"
        "      by(id).appendChild(option);\n"
        "    });\n"
        "  }\n"
        "  function title(g) { return g.querySelector('title').textContent.toLowerCase(); }\n"
        "  function filter() {\n"
        "    var n = 0, text = by('text').value.toLowerCase(), least = +by('least').value;\n"
        "    cells.forEach(function (g) {\n"
        "      var is_in = ['kind', 'class', 'node'].every(function (id) {\n"
        "        return !by(id).value || g.getAttribute('data-' + id) === by(id).value;\n"
        "      }) && +g.getAttribute('data-fill') >= least && (!text || title(g).indexOf(text) >= 0);\n"
        "      g.setAttribute('class', is_in ? '' : 'out');\n"
        "      n += is_in;\n"
        "    });\n"
        "    by('count').textContent = n + ' of ' + cells.length + (cells.length === 1 ? ' cell' : ' cells');\n"
        "  }\n"
        "  function zoom() {\n"
        "    var percent = +by('zoom').value;\n"
        "    svg.style.maxWidth = 'none';\n"
        "    svg.style.width = width * percent / 100 + 'px';\n"
        "    by('percent').textContent = percent + ' %';\n"
        "  }\n"
        "  /* Green, the darker the fuller; a rectangle keeps its own colour for later. */\n"
        "  function shade() {\n"
        "    var is_on = by('shade').checked;\n"
        "    cells.forEach(function (g) {\n"
        "      var fill = +g.getAttribute('data-fill'), rects = g.querySelectorAll('rect'), i;\n"
        "      for (i = 0; i < rects.length; i++) {\n"
        "        if (!rects[i].hasAttribute('data-own'))\n"
        "          rects[i].setAttribute('data-own', rects[i].getAttribute('fill'));\n"
        "        rects[i].setAttribute('fill', is_on ? 'hsl(140,55%,' + (92 - fill * 0.64) + '%)'\n"
        "                                            : rects[i].getAttribute('data-own'));\n"
        "      }\n"
        "    });\n"
        "  }\n"
        "  ['kind', 'class', 'node'].forEach(offer);\n"
        "  ['kind', 'class', 'node', 'text', 'least'].forEach(function (id) {\n"
        "    by(id).addEventListener('input', filter);\n"
        "  });\n"
        "  by('zoom').addEventListener('input', zoom);\n"
        "  by('shade').addEventListener('input', shade);\n"
        "  by('controls').addEventListener('submit', function (event) { event.preventDefault(); });\n"
        "  by('view').addEventListener('wheel', function (event) {\n"
        "    if (!event.ctrlKey)\n"
        "      return;\n"
        "    event.preventDefault();\n"
        "    by('zoom').value = +by('zoom').value * (event.deltaY < 0 ? 1.25 : 0.8);\n"
        "    zoom();\n"
        "  }, {passive: false});\n"
        "  by('controls').hidden = false;\n"
        "  filter();\n"
        "})();\n";

static const char controls[] =
        "<form id=\"controls\" hidden>\n"
        "<label>kind <select id=\"kind\"><option value=\"\">all</option></select></label>\n"
        "<label>class <select id=\"class\"><option value=\"\">all</option></select></label>\n"
        "<label>node <select id=\"node\"><option value=\"\">all</option></select></label>\n"
        "<label>allocated, at least <input id=\"least\" type=\"number\" min=\"0\" max=\"100\" value=\"0\"> %</label>\n"
        "<label>says <input id=\"text\" type=\"search\" placeholder=\"a root's name\"></label>\n"
        "<output id=\"count\"></output>\n"
        "<label>zoom <input id=\"zoom\" type=\"range\" min=\"50\" max=\"800\" value=\"100\"></label>\n"
        "<output id=\"percent\">100 %</output>\n"
        "<label><input id=\"shade\" type=\"checkbox\"> colour by fill</label>\n"
        "</form>\n";

void
map_draw_html(const struct map *map, FILE *out)
{
        char name[LAYOUT_NAME_MAX * TEXT_ESCAPED + 1], at[32] = "";
        struct tm tm;

        text_escape(name, sizeof name, map->view->name, sizeof map->view->name, TEXT_MARKUP);
        if (gmtime_r(&map->at, &tm))
                strftime(at, sizeof at, "%Y-%m-%dT%H:%M:%SZ", &tm);
        fprintf(out,
                "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
                "<meta name=\"date\" content=\"%s\"><title>Heap %s, %s</title>\n<style>\n%s</style>\n</head><body>\n",
                at, name, at, style);
        fputs(controls, out);
        fputs("<div id=\"view\">\n", out);
        map_draw_svg(map, out);
        fprintf(out, "</div>\n<script>\n%s</script>\n</body></html>\n", script);
}
